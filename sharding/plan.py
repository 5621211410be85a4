"""A phase's plan: which items it has, how they are divided into shards, and everything that decides their bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Literal, Self, get_args

from sharding import files, schema
from sharding.canonical import canonical_json, fingerprint
from sharding.directory import PhaseDirectory
from sharding.drift import Difference, differences, explain

Kind = Literal["map", "reduce", "gang"]


class PlanError(ValueError):
    """A plan that cannot be: bad values, or a plan file that is torn or newer than this version."""


class PlanDrift(ValueError):
    """The phase was started with another plan. `differences` holds (key, planned value, asked value)."""

    def __init__(self, planned: Plan, asked: Plan, where: str) -> None:
        self.stage, self.planned_hash, self.asked_hash = planned.stage, planned.hash, asked.hash
        self.differences: list[Difference] = differences(planned.to_json(), asked.to_json())
        super().__init__(
            f"{where} was started with plan {planned.hash}, asked for is plan {asked.hash}. What differs:\n"
            f"{explain(self.differences)}\nUse the planned values, or a new run directory for the new ones."
        )


class PlanReplaced(ValueError):
    """The phase has another plan by now than the one that this work is of: nothing of it may be published."""

    def __init__(self, plan: Plan, found: Plan | None, where: str) -> None:
        now = f"plan {found.hash}. What differs:\n" if found else "no plan; it is to be laid out anew"
        told = explain(differences(found.to_json(), plan.to_json())) if found else ""
        super().__init__(f"{where}: another command has replaced plan {plan.hash}; found now is {now}{told}")


@dataclass(frozen=True)
class ShardRange:
    """The items [start, stop) of shard `index`."""

    index: int
    start: int
    stop: int


@dataclass(frozen=True)
class Plan:
    """The immutable layout of one phase.

    `map`: shards of `shard_items` items, the last one may have fewer. `reduce` and `gang`: one shard with all items.
    """

    stage: str
    phase: str
    kind: Kind
    num_items: int
    shard_items: int
    suffix: str
    """File name ending of the outputs, such as `.parquet`."""
    identity: Mapping[str, Any]
    """JSON-able: every configuration field and source hash that decides the bytes."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise PlanError(f"kind must be one of {', '.join(get_args(Kind))}, got {self.kind!r}")
        if self.num_items < 0:
            raise PlanError(f"num_items must be 0 or more, got {self.num_items}")
        if self.shard_items < 1:
            raise PlanError(f"shard_items must be at least 1, got {self.shard_items}")
        if not self.suffix.startswith(".") or "/" in self.suffix or self.suffix == ".part":
            raise PlanError(
                f"suffix must be a file name ending such as '.parquet' (and not '.part'), got {self.suffix!r}"
            )
        # A copy in JSON's own types: the plan that is read equals the plan that was written.
        object.__setattr__(self, "identity", json.loads(canonical_json(dict(self.identity))))

    @cached_property
    def hash(self) -> str:
        """sha256 of everything in the plan and of the schema it is written in."""
        return fingerprint(self.to_json())

    @property
    def num_shards(self) -> int:
        return -(-self.num_items // self.shard_items) if self.kind == "map" else 1

    def shard(self, index: int) -> ShardRange:
        """The item range of a shard. Raises IndexError outside 0..num_shards-1."""
        if not 0 <= index < self.num_shards:
            raise IndexError(
                f"shard {index} is outside the plan of {self.stage}/{self.phase}, which has {self.num_shards} shards"
            )
        if self.kind != "map":
            return ShardRange(index, 0, self.num_items)
        start = index * self.shard_items
        return ShardRange(index, start, min(start + self.shard_items, self.num_items))

    def to_json(self) -> dict[str, Any]:
        return {"schema": schema.SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], what: str = "plan") -> Self:
        """The plan in a JSON object. Raises PlanError for missing, unknown or wrong fields and for a newer schema."""
        names = {field.name for field in fields(cls)}
        found = dict(schema.parse(canonical_json(dict(value)), what, PlanError))
        found.pop("schema")
        if found.keys() != names:
            raise PlanError(f"{what} must have exactly the fields {sorted(names)}, got {sorted(found)}")
        for name in ("stage", "phase", "kind", "suffix"):
            schema.text(found, name, what, PlanError)
        for name in ("num_items", "shard_items"):
            schema.count(found, name, what, PlanError)
        schema.mapping(found, "identity", what, PlanError)
        return cls(**found)


def bind_plan(directory: PhaseDirectory, plan: Plan) -> None:
    """Write the plan if the phase has none; otherwise make sure it is this one.

    Raises PlanDrift, with both hashes and every difference, if the phase was started with another plan.
    """
    if files.create_file(directory.plan_path, _encode(plan)):
        return
    planned = load_plan(directory)
    if planned is not None and planned.hash != plan.hash:
        raise PlanDrift(planned, plan, f"{plan.stage}/{plan.phase}")


def replace_plan(directory: PhaseDirectory, planned: Plan, plan: Plan | None) -> None:
    """Put `plan` in the place of `planned`, from which nothing was made; None takes the plan away.

    The inputs it was bound to go first, as another plan may build on other phases. For one caller at a time, and while
    no attempt is at work: whoever holds the phase. A late attempt of the old plan is refused by `check_bound`.

    Raises PlanDrift if something was made from it, or if the phase has neither of the two plans.
    """
    current = load_plan(directory)
    if (current.hash if current else None) == (plan.hash if plan else None):
        return
    if current is None or current.hash != planned.hash or not directory.is_untouched():
        raise PlanDrift(current or planned, plan or planned, f"{planned.stage}/{planned.phase}")
    files.remove(directory.inputs_path)
    if plan is None:
        files.remove(directory.plan_path)
        files.sync_directory(directory.path)
    else:
        files.replace_file(directory.plan_path, _encode(plan))


def check_bound(directory: PhaseDirectory, plan: Plan) -> None:
    """Raises PlanReplaced unless the phase is bound to this plan."""
    found = load_plan(directory)
    if found is None or found.hash != plan.hash:
        raise PlanReplaced(plan, found, f"{plan.stage}/{plan.phase}")


def _encode(plan: Plan) -> bytes:
    return canonical_json({**plan.to_json(), "hash": plan.hash})


def load_plan(directory: PhaseDirectory) -> Plan | None:
    """The plan a phase was started with, None if there is none. Raises PlanError if the file is damaged or newer."""
    path = directory.plan_path
    try:
        data = files.read_file(path)
    except FileNotFoundError:
        return None
    value = schema.parse(data, str(path), PlanError)
    recorded = value.pop("hash", None)
    plan = Plan.from_json(value, str(path))
    if plan.hash != recorded:
        raise PlanError(
            f"{path} was changed after it was written: it records hash {recorded!r}, its content has {plan.hash}"
        )
    return plan
