"""What made the run: versions, seeds, hosts by number, configuration."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sharding.marker import MarkerError, shard_marker
from sharding.seal import SealError, load_seal
from synthclip_hpc.config import RunConfig, flatten
from synthclip_hpc.pipeline import phases_of
from synthclip_hpc.reporting.bill import StageBill
from synthclip_hpc.reporting.blocks import Block, Listing, Row, Section, Table, Text, Value
from synthclip_hpc.reporting.outside_model import OutsideModel, outside_model_of
from synthclip_hpc.reporting.places import TOLD_STAGES
from synthclip_hpc.reporting.portable import command_line, shown_value
from synthclip_hpc.reporting.runs import ToldRun, run_id
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import all_submissions

_MARKERS_A_PHASE = 8
_HIDDEN = ("slurm",)
"""Not shown: what a user's own cluster is called and set up like."""


def provenance_section(told: ToldRun, bills: list[StageBill], stages: tuple[str, ...]) -> Section:
    """Return the section: it tells nothing of hosts but how many there were, and of files no folder."""
    run, outside = told.run, outside_model_of(told)
    made = list(_made_by(run, stages))
    versions = _several(one.get("versions", {}) for one in made)
    nodes = set().union(*(bill.nodes for bill in bills)) if bills else set()
    pairs = [
        ("run id", run_id(run) or "not known"),
        ("seed", str(told.config.seed)),
        ("model from elsewhere", "" if outside is None else outside.words()),
        ("commit", _commits(run)),
        ("hosts", f"{len(nodes):,}"),
        ("CPUs", _counted(one.get("cpu") for one in made)),
        ("GPUs", _counted(gpu for one in made for gpu in set(one.get("gpus", ())))),
        ("Python", _counted(one.get("python") for one in made)),
    ]
    packages = [(name, ", ".join(sorted(found))) for name, found in sorted(versions.items())]
    blocks: list[Block] = [
        _pairs("provenance", "What made it", ("What", "Value"), pairs),
        Text(
            "Seals are hashes over the checksums of all files of a finished phase: where two runs have the same seal, "
            "they have the same files."
        ),
        _pairs("versions", "Versions of packages", ("Package", "Version"), packages, folded=True),
        _settings(told, outside),
        Listing("Commands", "\n".join(_commands(run)) or "none recorded"),
        Listing("Seals", "\n".join(_seals(run, stages)) or "no phase is finished yet"),
    ]
    return Section("provenance", "Provenance", tuple(blocks))


def _pairs(
    name: str, title: str, head: tuple[str, str], pairs: Sequence[tuple[str, str]], *, folded: bool = False
) -> Table:
    rows = tuple(Row((Value(what), Value(told))) for what, told in pairs if told)
    return Table(name, title, head, rows, num_text_columns=2, folded=folded)


def _made_by(run: Run, stages: tuple[str, ...]) -> Any:
    """Yield what some markers of each phase say of who made their shards."""
    from synthclip_hpc.dataset.contact_sheet import evenly

    for stage in stages:
        for phase in phases_of(stage):
            directory = run.phase(stage, phase.name)
            marked = sorted(directory.marked_shards())
            for place in evenly(len(marked), _MARKERS_A_PHASE):
                try:
                    yield shard_marker(directory, marked[place]).provenance
                except (MarkerError, FileNotFoundError):
                    continue  # `verify` is who tells of it


def _several(found: Any) -> dict[str, set[str]]:
    together: dict[str, set[str]] = {}
    for versions in found:
        for name, version in versions.items():
            together.setdefault(name, set()).add(str(version))
    return together


def _counted(names: Any) -> str:
    counts = Counter(str(name) for name in names if name)
    return ", ".join(counts)


def _submissions(run: Run) -> list[Mapping[str, Any]]:
    return [one.record.get("provenance", {}) for one in all_submissions(run)]


def _commits(run: Run) -> str:
    found = dict.fromkeys(
        git["commit"][:12] + (" with changes" if git.get("dirty") else "")
        for one in _submissions(run)
        if isinstance(git := one.get("git"), dict)
    )
    return ", ".join(found)


def _commands(run: Run) -> list[str]:
    return list(dict.fromkeys(command_line(one["argv"]) for one in _submissions(run) if one.get("argv")))


def _seals(run: Run, stages: tuple[str, ...]) -> list[str]:
    lines = []
    for stage in stages:
        for phase in phases_of(stage):
            try:
                seal = load_seal(run.phase(stage, phase.name))
            except SealError:
                lines.append(f"{phase.key:<18} damaged")
                continue
            if seal is not None:
                lines.append(f"{phase.key:<18} {seal.hash}")
    return lines


def _settings(told: ToldRun, outside: OutsideModel | None) -> Table:
    """Return the keys that are not at their default and those that decide outputs, but for the cluster's.

    Of a stage that the run does not have there are none: they decide nothing in it.
    """
    absent = [stage for stage in TOLD_STAGES if not told.run.has_plans(stage)]
    defaults = {key: value for key, value, _ in flatten(RunConfig())}
    rows = []
    for key, value, item in flatten(told.config):
        if key.partition(".")[0] in (*_HIDDEN, *absent) or value is None:
            continue
        changed = value != defaults[key]
        if changed or item.metadata.get("role") == "identity":
            is_named = key == "eval.model" and outside is not None and told.config.eval.pretrained is None
            shown = outside.name if outside is not None and is_named else _shown(key, value)
            rows.append(Row((Value(key, strong=changed), Value(shown), Value("" if changed else "default"))))
    note = f"Without the keys of stages that are not part of the run so far: {', '.join(absent)}." if absent else ""
    head = ("Key", "Value", "")
    return Table("configuration", "Configuration", head, tuple(rows), num_text_columns=3, note=note, folded=True)


def _shown(key: str, value: Any) -> str:
    found = shown_value(key, value)
    return found if isinstance(found, str) else json.dumps(found)
