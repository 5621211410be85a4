"""How fast a phase will go, and who says so: this run, a probe of it, another run, or the phase's own figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from synthclip_hpc.config import RunConfig, flatten, get
from synthclip_hpc.config_files import to_table
from synthclip_hpc.errors import UserError
from synthclip_hpc.foresight.visits import Visit, Work, work_of
from synthclip_hpc.models.start_delay import start_delay_s
from synthclip_hpc.run import Run
from synthclip_hpc.stages.phase import Phase
from synthclip_hpc.submissions import Submission, all_submissions

Range = tuple[float, float]

START_UP_S: dict[str, Range] = {"CPU": (1.0, 10.0), "GPU": (15.0, 120.0)}
"""Guessed, where nothing was measured: Python and its libraries; with a GPU, a model's weights as well."""
_LEAST_SPREAD = 0.1
_SPREAD_OF_ONE = 0.25
_MOST_SPREAD = 0.9
_KEYS_TOLD = 3
_NO_MATTER = {"render.reuse", "train.tensorboard", "train.wandb", "train.mark_epochs", "train.keep_checkpoints"}
"""Execution keys of stages that change nothing about their pace."""


@dataclass(frozen=True)
class Pace:
    """What one item costs one lane of an element, low and high. Of a gang: what an epoch costs the whole job."""

    seconds_per_item: Range
    start_up_s: Range
    """From an attempt's first word to its first shard, without the delay that keeps many from starting at once."""
    bytes_per_item: Range
    source: str
    device: str
    """`GPU` or `CPU`."""


def find_pace(
    run: Run, phase: Phase, config: RunConfig, devices: int, other: Run | None = None, device: str | None = None
) -> Pace:
    """Return the best figures there are: of this run, else of `other`, else the phase's own estimate.

    `devices` is how many GPUs (or, of a gang on CPUs, nodes) share the work of one lane, which estimates are divided
    by; measured figures hold for the job they were measured with. `device`: `GPU` or `CPU`, where it is not the
    estimate's.
    """
    estimate = phase.estimate(config)
    device = device or estimate.device
    for one, name in ((run, "this run"), (other, str(other.path) if other is not None else "")):
        if one is not None and one.exists() and (found := _measured(one, name, phase, config, device)):
            return found
    low, high = estimate.seconds_per_item
    seconds = (low / devices, high / devices)
    return Pace(seconds, START_UP_S[device], estimate.bytes_per_item, estimate.source, device)


def other_run(given: str | None) -> Run | None:
    """Return the run that `estimate_from` names. Raises UserError when it is none."""
    from synthclip_hpc.paths import path_of

    if given is None:
        return None
    found = Run(path_of("estimate_from", given).absolute())
    if not found.exists():
        raise UserError(
            f"estimate_from={given}: no run there (no run.toml); name the directory of a run that has done such work, "
            "or measure: python -m synthclip_hpc.probe"
        )
    return found


def _measured(run: Run, name: str, phase: Phase, config: RunConfig, device: str) -> Pace | None:
    work = work_of(run.phase(phase.stage, phase.name), is_gang=phase.kind == "gang")
    if not work.visits:
        return None
    known = {one.name: one for one in all_submissions(run)}
    changed = {key: _differing(known.get(key), run, phase, config) for key in {one.submission for one in work.visits}}
    fewest = min(map(len, changed.values()))
    best = {key for key, keys in changed.items() if len(keys) == fewest}
    visits = [one for one in work.visits if one.submission in best]
    others = sorted({key for submission in best for key in changed[submission]}) if fewest else []
    return Pace(
        _pace_of(visits),
        _start_up(work, best, known, phase, config, device),
        _bytes_of(work) or phase.estimate(config).bytes_per_item,
        _told(name, visits, known, others),
        device,
    )


def _differing(submission: Submission | None, run: Run, phase: Phase, config: RunConfig) -> list[str]:
    """Return the keys of the stage that a submission had other values of than `config`; inline work has the run's.

    What another version recorded is compared as far as it has the same keys.
    """
    theirs = submission.record["config"] if submission is not None else to_table(run.load_config())
    ours, defaults = to_table(config), RunConfig()
    found = []
    for key, _, _ in flatten(defaults):
        if key.startswith(f"{phase.stage}.") and key not in _NO_MATTER:
            default = get(defaults, key)
            if _leaf(theirs, key, default) != _leaf(ours, key, default):
                found.append(key)
    return found


def _leaf(table: Any, key: str, default: Any) -> Any:
    for name in key.split("."):
        if not isinstance(table, dict) or name not in table:
            return default  # tables leave out what is None, and what their version did not know
        table = table[name]
    return table


def _pace_of(visits: Sequence[Visit]) -> Range:
    seconds, items = sum(one.seconds for one in visits), sum(one.items for one in visits)
    mean, number = seconds / items, len(visits)
    # Twice the standard error of a ratio of sums, so that short visits count for little.
    off = math.sqrt(sum((one.seconds - mean * one.items) ** 2 for one in visits))
    spread = 2 * off * math.sqrt(number / (number - 1)) / seconds if number > 1 else 0.0
    least = _LEAST_SPREAD if len({one.shard for one in visits}) > 1 else _SPREAD_OF_ONE
    spread = min(max(spread, least), _MOST_SPREAD)
    return mean * (1 - spread), mean * (1 + spread)


def _start_up(
    work: Work, best: set[str], known: dict[str, Submission], phase: Phase, config: RunConfig, device: str
) -> Range:
    """Return the least and the most that an attempt took to start, less the delay that it was given on purpose."""
    took = []
    for one in work.start_ups:
        if one.submission in best:
            submission = known.get(one.submission)
            delay_s = 0.0
            if submission is not None and phase.gpus(config):
                delay_s = start_delay_s(one.attempt, submission.num_elements)
            took.append(one.seconds - delay_s)
    if not took:
        return START_UP_S[device]
    took.sort()
    aside = len(took) // 10  # of many, those that took unusually long are not what the next ones will take
    return max(0.0, took[aside]), max(0.0, took[-1 - aside])


def _bytes_of(work: Work) -> Range | None:
    sizes = [one.size_bytes / one.items for one in work.outputs.values() if one.items]
    if not sizes:
        return None
    return min(sizes), max(sizes)


def _told(name: str, visits: Sequence[Visit], known: dict[str, Submission], others: Sequence[str]) -> str:
    shards = len({one.shard for one in visits})
    submissions = [known.get(one.submission) for one in visits]
    probed = all(one is not None and one.record.get("probe") for one in submissions)
    what = f"{shards:,} shard{'s' if shards != 1 else ''} of {name}"
    text = f"measured by a probe: {what}" if probed else f"measured: {what}"
    if others:
        more = f" and {len(others) - _KEYS_TOLD} more" if len(others) > _KEYS_TOLD else ""
        text += f", which had other {', '.join(others[:_KEYS_TOLD])}{more}"
    return text
