"""What `submit` and `resume` print: what was started, and, for `dry-run`, what would be."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence

from synthclip_hpc.config import RunConfig
from synthclip_hpc.launch.chain import Link, is_sealed, local_workers, missing_shards
from synthclip_hpc.launch.launching import Started
from synthclip_hpc.launch.replacing import Replacement
from synthclip_hpc.run import Run
from synthclip_hpc.stages import concepts
from synthclip_hpc.summaries import summaries

_WIDTHS = (12, 9, 9, 10, 9, 20, 11, 16)
FILES_PER_SHARD = 2
FILES_PER_ELEMENT = 6
"""At most: submitit's three, a journal, a log, and one to spare."""
FILES_PER_SUBMISSION = 3 + FILES_PER_ELEMENT


def print_started(run: Run, started: Started) -> None:
    """Print what became of each phase, where the logs are, and how to look on."""
    print("\n".join(started.lines))
    if (bank := concepts.told(run)) is not None:
        print(f"bank:   {bank}")
    if not started.submissions:
        return
    latest = started.submissions[0]
    at = shlex.quote(str(run.path))
    print(f"logs:   tail -F {shlex.quote(str(run.logs(latest.stage)))}/{latest.name}_*.log")
    print(f"status: python -m synthclip_hpc.status run={at}")
    print(f"stop:   python -m synthclip_hpc.cancel run={at}      go on: python -m synthclip_hpc.resume run={at}")


def print_later(run: Run, links: Sequence[Link], later: Sequence[str], cluster: str, *, wait: bool = False) -> None:
    """Print which phases could not be laid out yet, and what lays them out: `wait`, this command itself.

    `links` is what could be. Of a stage without any, `resume` would know nothing.
    """
    stages, at = dict.fromkeys(key.partition("/")[0] for key in later), f"run={shlex.quote(str(run.path))}"
    if set(stages) <= {link.phase.stage for link in links}:
        then = f"python -m synthclip_hpc.resume {at}"
    else:
        then = f"python -m synthclip_hpc.submit stage={','.join(stages)} {at} cluster={cluster}"
    if wait:
        then = "this command goes on with it"
    for key in later:
        print(f"{key}: not yet, its size is known when what comes before it is done; then: {then}")


def print_replaced(replacements: Sequence[Replacement]) -> None:
    """Print which plans give way, and why they may."""
    for one in replacements:
        print(one.told())


def print_finished(run: Run, stages: Sequence[str]) -> None:
    """Print what the finished phases of the stages have to tell."""
    for line in summaries(run, stages):
        print(line)


def dry_run_text(run: Run, links: Sequence[Link], config: RunConfig, cluster: str) -> str:
    """Return the plan table and the sbatch script of each phase; equal inputs give equal text."""
    target = None
    if cluster != "local":
        from synthclip_hpc.launch.arrays import find_target

        target = find_target(config, cluster)
    columns = zip(
        ("items", "shards", "missing", "elements", "files", "disk", "GPU hours", "CPU hours"), _WIDTHS, strict=True
    )
    heading = f"{'phase':<16}" + "".join(f"{name:>{width}}" for name, width in columns)
    lines = [f"run: {run.path}", f"cluster: {cluster}", "", heading]
    sources, scripts = [], []
    for link in links:
        plan, estimate = link.plan, link.phase.estimate(config)
        done = run.exists() and is_sealed(run, link)
        missing = 0 if done else len(missing_shards(run, link)) if run.exists() else plan.num_shards
        elements = 0
        if missing and not link.phase.inline:
            elements = min(missing, local_workers(config, link.phase))
            if target is not None:
                from synthclip_hpc.launch.arrays import num_elements, script_of

                elements = num_elements(target, link.phase, missing)
                scripts += [
                    "",
                    f"sbatch script of {link.phase.key}:",
                    script_of(run, link, target, missing).rstrip("\n"),
                ]
        per_submission = FILES_PER_SUBMISSION if plan.num_shards else 0
        files = FILES_PER_SHARD * plan.num_shards + FILES_PER_ELEMENT * elements + per_submission
        todo = missing * plan.shard_items if missing < plan.num_shards else plan.num_items
        hours = _between(estimate.seconds_per_item, todo / 3600, _hours)
        gpu, cpu = (hours, "-") if estimate.device == "GPU" else ("none", hours)
        disk = _between(estimate.bytes_per_item, plan.num_items, _size)
        cells = (*(f"{n:,}" for n in (plan.num_items, plan.num_shards, missing, elements, files)), disk, gpu, cpu)
        lines.append(
            f"{link.phase.key:<16}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))
        )
        sources.append(f"{link.phase.key}: plan {plan.hash[:16]}; cost from: {estimate.source}")
    return "\n".join([*lines, "", *sources, *scripts]) + "\n"


def _between(ends: tuple[float, float], factor: float, show: Callable[[float], str]) -> str:
    low, high = (show(end * factor) for end in ends)
    return low if low == high else f"{low} - {high}"


def _hours(hours: float) -> str:
    return f"{hours:,.2f}" if hours >= 0.01 else "<0.01"


def _size(size_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:,.3g} TB"
