"""What `submit` and `resume` print: what was started, and, for `dry-run`, what would be."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from synthclip_hpc.config import RunConfig
from synthclip_hpc.launch.chain import Link, is_sealed, local_workers, missing_shards
from synthclip_hpc.launch.launching import Started
from synthclip_hpc.run import Run

FILES_PER_SHARD = 2
FILES_PER_ELEMENT = 6
"""At most: submitit's three, a journal, a log, and one to spare."""
FILES_PER_SUBMISSION = 3 + FILES_PER_ELEMENT


def print_started(run: Run, started: Started) -> None:
    """Print what became of each phase, where the logs are, and how to look on."""
    print("\n".join(started.lines))
    if not started.submissions:
        return
    latest = started.submissions[0]
    at = shlex.quote(str(run.path))
    print(f"logs:   tail -F {shlex.quote(str(run.logs(latest.stage)))}/{latest.name}_*.log")
    print(f"status: python -m synthclip_hpc.status run={at}")
    print(f"stop:   python -m synthclip_hpc.cancel run={at}      go on: python -m synthclip_hpc.resume run={at}")


def dry_run_text(run: Run, links: Sequence[Link], config: RunConfig, cluster: str) -> str:
    """Return the plan table and the sbatch script of each phase; equal inputs give equal text."""
    target = None
    if cluster != "local":
        from synthclip_hpc.launch.arrays import find_target

        target = find_target(config, cluster)
    heading = f"{'phase':<16}{'items':>12}{'shards':>9}{'missing':>9}{'elements':>10}{'files':>9}{'disk':>20}{'GPU hours':>11}{'CPU hours':>16}"
    lines = [f"run: {run.path}", f"cluster: {cluster}", "", heading]
    sources, scripts = [], []
    for link in links:
        plan, estimate = link.plan, link.phase.estimate(config)
        done = run.exists() and is_sealed(run, link)
        missing = 0 if done else len(missing_shards(run, link)) if run.exists() else plan.num_shards
        elements = 0
        if missing and not link.phase.inline:
            elements = min(missing, local_workers(config))
            if target is not None:
                from synthclip_hpc.launch.arrays import num_elements, script_of

                elements = num_elements(target, link.phase.stage, missing)
                scripts += ["", f"sbatch script of {link.phase.key}:", script_of(run, link, target, missing).rstrip("\n")]
        files = FILES_PER_SHARD * plan.num_shards + FILES_PER_ELEMENT * elements + FILES_PER_SUBMISSION
        todo = missing * plan.shard_items if missing < plan.num_shards else plan.num_items
        hours = _between(*(todo * seconds / 3600 for seconds in estimate.seconds_per_item))
        gpu, cpu = (hours, "-") if estimate.device == "GPU" else ("none", hours)
        disk = _between(*(plan.num_items * size / 1e6 for size in estimate.bytes_per_item), unit=" MB")
        lines.append(
            f"{link.phase.key:<16}{plan.num_items:>12,}{plan.num_shards:>9,}{missing:>9,}{elements:>10,}{files:>9,}{disk:>20}{gpu:>11}{cpu:>16}"
        )
        sources.append(f"{link.phase.key}: plan {plan.hash[:16]}; cost from: {estimate.source}")
    return "\n".join([*lines, "", *sources, *scripts]) + "\n"


def _between(low: float, high: float, unit: str = "") -> str:
    return f"{low:,.3g}-{high:,.3g}{unit}" if low != high else f"{low:,.3g}{unit}"
