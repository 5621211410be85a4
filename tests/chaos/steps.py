"""The steps of a disturbed training, by the metrics of its rounds: none lost, none with other values, few repeated."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.faults import ROUND_FAULTS, Injection
from tests.chaos.lost_work import LostWork
from tests.chaos.train_scenario import TrainScenario

WITH_GRACE = ("preempt-grace", "time-limit")
"""Faults that Slurm gives notice of: they must not cost a step."""
DAMAGE = "corrupt-checkpoint"


_Ended = dict[str, dict[int, tuple[str, int | None] | None]]
"""Attempt -> round -> outcome and step; None for one that has not ended."""


@dataclass
class Round:
    """One life of all ranks."""

    attempt: str
    number: int
    began: float
    last_heard: float
    steps: list[int]
    lines: dict[int, str]
    """Step -> its line, as it stands in the file."""


def read_rounds(run: Path) -> list[Round]:
    """Read all rounds, in order of their start, with the harness's own eyes."""
    found = []
    for path in (run / "train" / "metrics").glob("*.jsonl"):
        attempt, _, number = path.stem.rpartition("-")
        times, lines = [], {}
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.endswith("}"):
                continue  # torn by a kill
            row = json.loads(line)
            if "time" in row:
                times.append(row["time"])
            if "kind" not in row:
                lines[row["step"]] = line
        found.append(Round(attempt, int(number), min(times), max(times), list(lines), lines))
    return sorted(found, key=lambda one: one.began)


def wrong_steps(run: Path, calm: Path, scenario: TrainScenario) -> list[str]:
    """What differs between the curves of two runs, in whichever round a step was done, and steps that are missing."""
    [undisturbed] = [one for one in read_rounds(calm) if one.steps]
    found = []
    if undisturbed.steps != list(range(1, scenario.num_steps + 1)):
        found.append(f"the calm run did {len(undisturbed.steps)} steps, expected {scenario.num_steps}")
    done: set[int] = set()
    for one in read_rounds(run):
        done.update(one.steps)
        other = [step for step, line in one.lines.items() if undisturbed.lines.get(step) != line]
        if other:
            found.append(f"{one.attempt}/{one.number}: {len(other)} steps with other metrics, first {other[0]}")
    if missing := set(undisturbed.steps) - done:
        found.append(f"{len(missing)} steps are in no file, e.g. {min(missing)}")
    return found


def account_steps(run: Path, scenario: TrainScenario, injections: Sequence[Injection]) -> LostWork:
    """How many steps each end of a round cost: those done beyond the checkpoint that the next round went on from."""
    rounds, ended = read_rounds(run), _rounds_ended(run)
    result = LostWork(made=sum(len(one.steps) for one in rounds), unit="steps")
    working = [one for one in rounds if one.steps]
    for place, one in enumerate(working[:-1]):
        later = working[place + 1 :]
        if later[0].began < one.last_heard:
            result.made_twice_overlapping += len(set(one.steps) & {step for other in later for step in other.steps})
            continue
        repeated = one.steps[-1] - (later[0].steps[0] - 1)
        result.made_twice += repeated
        faults = _faults(one, ended, injections)
        of_round = any(fault in ROUND_FAULTS for fault in faults)
        name = f"{one.attempt}/{one.number}" if of_round else one.attempt
        result.cut_off[name] = float(repeated)
        allowed = _allowed(scenario, faults)
        if not 0 <= repeated <= allowed:
            told = ", ".join(faults) or "no fault"
            result.problems.append(f"{name} ({told}): {repeated} steps repeated, at most {allowed} expected")
    result.problems += _not_saved(rounds, ended, injections)
    return result


def _allowed(scenario: TrainScenario, faults: Sequence[str]) -> int:
    kills = [fault for fault in faults if fault not in WITH_GRACE]
    if faults and not kills:
        return 0
    return scenario.save_steps * (2 if DAMAGE in faults else 1) + scenario.in_flight_steps


def _faults(one: Round, ended: _Ended, injections: Sequence[Injection]) -> list[str]:
    """The faults that ended a round: its own, and those of its attempt when it was that one's last."""
    is_last = one.number == max(ended.get(one.attempt, {one.number: None}))
    names = {f"{one.attempt}/{one.number}"} | ({one.attempt} if is_last else set[str]())
    return [injection.fault for injection in injections if names & set(injection.attempts)]


def _rounds_ended(run: Path) -> _Ended:
    """The rounds that each attempt began, by its journal, with how they ended."""
    found: _Ended = {}
    for path in (run / "train" / "fit" / "journals").glob("*.jsonl"):
        lines = path.read_text(encoding="utf-8").splitlines()
        events = [json.loads(line) for line in lines if line.endswith("}")]
        begun: dict[int, tuple[str, int | None] | None] = {
            event["round"]: None for event in events if event["event"] == "round"
        }
        begun |= {
            event["round"]: (event["outcome"], event["step"]) for event in events if event["event"] == "round_ended"
        }
        if begun:
            found[path.stem] = begun
    return found


def _not_saved(rounds: Sequence[Round], ended: _Ended, injections: Sequence[Injection]) -> Iterator[str]:
    """Name each attempt that had notice and whose last round did not end with a checkpoint of its very last step."""
    for attempt in (name for one in injections if one.fault in WITH_GRACE for name in one.attempts):
        last = max(ended.get(attempt, {}), default=-1)
        for one in rounds:
            # Where notice came before the first step of a round nothing was there to be saved.
            if (one.attempt, one.number) == (attempt, last) and one.steps:
                how = ended[attempt][last]
                if how != ("stopped", one.steps[-1]):
                    yield f"{attempt}/{last}: had notice after step {one.steps[-1]}, but its round ended so: {how}"
