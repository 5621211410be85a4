"""The "same" set, compared with an undisturbed run: every byte under `data/`, every seal; and the items themselves."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

from tests.chaos.scenario import Part, Scenario


def same_set(run: Path, scenario: Scenario) -> dict[str, str]:
    """SHA-256 of each file that must be equal, by its path in the run."""
    found = {}
    for stage, phase in scenario.compared:
        place = run / stage / phase
        for path in [*sorted((place / "data").rglob("*")), place / "seal.json"]:
            if path.is_file():
                found[str(path.relative_to(run))] = hashlib.sha256(path.read_bytes()).hexdigest()
    for path in (path for folder in scenario.folders for path in (run / folder).rglob("*")):
        if path.is_file():
            found[str(path.relative_to(run))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def differences(calm: Path, run: Path, scenario: Scenario) -> list[str]:
    """What differs between two runs; empty when they are the same."""
    ours, theirs = same_set(run, scenario), same_set(calm, scenario)
    found = [f"{name}: missing" for name in sorted(theirs.keys() - ours.keys())]
    found += [f"{name}: not in the calm run" for name in sorted(ours.keys() - theirs.keys())]
    found += [f"{name}: other bytes" for name in sorted(ours.keys() & theirs.keys()) if ours[name] != theirs[name]]
    for part in (one for one in scenario.parts if one.is_compared):
        expected = part.num_shards + len(part.phases)
        here = [name for name in ours if name.startswith(tuple(f"{part.stage}/{phase}/" for phase in part.phases))]
        if len(here) != expected:
            found.append(f"{len(here)} files to compare in {part.stage}, expected {expected}")
    return found


def lost_or_doubled(run: Path, scenario: Scenario) -> list[str]:
    """What is wrong with the ids of the items: lost ones and those that occur twice."""
    import pyarrow.parquet as pq

    ids: Counter[int] = Counter()
    # The last phase that writes tables of items; a report may come after it.
    tables = [sorted((run / scenario.stage / phase / "data").rglob("*.parquet")) for phase in scenario.phases]
    for path in next((paths for paths in reversed(tables) if paths), []):
        ids.update(pq.read_table(path, columns=[scenario.id_column]).column(0).to_pylist())
    doubled = [key for key, count in ids.items() if count > 1]
    found = [f"{len(doubled)} items occur twice, e.g. {doubled[0]}"] if doubled else []
    if sum(ids.values()) != scenario.final_items:
        found.append(f"{sum(ids.values())} items, expected {scenario.final_items}")
    return found


def leftovers(run: Path, scenario: Scenario) -> list[str]:
    """Partial and temporary files that finished phases should not have."""
    places = [run / part.stage / phase / "partial" for part in scenario.parts for phase in part.phases]
    found = [path for place in places for path in place.rglob("*") if path.is_file()]
    hidden = [path for path in run.rglob(".*") if path.is_file() or path.parent.name == "submissions"]
    # submitit keeps its own, and a report the list of its files.
    kept = (".submission_file_", ".files.json")
    found += [path for path in hidden if not path.name.startswith(kept)]
    found += [*run.rglob("*.save_tmp"), *run.glob("train/checkpoints/.*")]
    return sorted(f"left over: {path.relative_to(run)}" for path in found)


def over_budget(run: Path, scenario: Scenario) -> list[str]:
    """Compare the number of files with the budget: 2 a shard, 2 an attempt, 4 an element, 3 a submission, 3 a phase."""
    return [problem for part in scenario.parts for problem in _over_budget(run, part)]


def _over_budget(run: Path, part: Part) -> list[str]:
    place = run / part.stage
    folders = [path for path in (run / "submissions").glob(f"*-{part.stage}") if path.is_dir()]
    phase = sum(1 for path in place.rglob("*") if path.is_file())
    logs = sum(1 for path in (run / "logs" / part.stage).rglob("*") if path.is_file())
    launching = sum(1 for folder in folders for path in folder.rglob("*") if path.is_file())
    journals = len(list(place.glob("*/journals/*.jsonl")))
    elements = sum(_elements(folder) + 1 for folder in folders)  # the seal job is an element too
    budget = 2 * part.num_shards + 2 * journals + 4 * elements + 3 * (len(folders) + len(part.phases))
    budget += part.other_files
    found = phase + logs + launching
    if found <= budget:
        return []
    return [f"{part.stage}: {found} files (phase {phase}, logs {logs}, submissions {launching}), budget {budget}"]


def _elements(folder: Path) -> int:
    return int(json.loads((folder / "record.json").read_text())["num_elements"])
