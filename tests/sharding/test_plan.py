import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharding.canonical import canonical_json
from sharding.directory import PhaseDirectory
from sharding.inputs import bind_inputs
from sharding.plan import Plan, PlanDrift, PlanError, PlanReplaced, bind_plan, check_bound, load_plan, replace_plan
from tests.sharding.faults import Process, run, run_interleaved
from tests.sharding.test_canonical import JSON


def plan(**changes: Any) -> Plan:
    values = {"num_items": 10, "shard_items": 4, "suffix": ".parquet", "identity": {"model": {"name": "a", "seed": 1}}}
    return Plan(**{"stage": "captions", "phase": "write", "kind": "map", **values, **changes})


@given(num_items=st.integers(0, 500), shard_items=st.integers(1, 100))
def test_shards_cover_every_item_once_and_in_order(num_items: int, shard_items: int) -> None:
    made = plan(num_items=num_items, shard_items=shard_items)
    shards = [made.shard(index) for index in range(made.num_shards)]
    assert [item for shard in shards for item in range(shard.start, shard.stop)] == list(range(num_items))
    assert all(0 < shard.stop - shard.start <= shard_items for shard in shards)


@pytest.mark.parametrize("kind", ["reduce", "gang"])
def test_reduce_and_gang_have_one_shard_with_all_items(kind: str) -> None:
    made = plan(kind=kind)
    assert (made.num_shards, made.shard(0).start, made.shard(0).stop) == (1, 0, 10)


@pytest.mark.parametrize("index", [-1, 3])
def test_a_shard_outside_the_plan_is_refused(index: int) -> None:
    with pytest.raises(IndexError, match="3 shards"):
        plan().shard(index)


def test_every_field_is_in_the_hash() -> None:
    changes = {
        "stage": "render",
        "phase": "draw",
        "kind": "reduce",
        "num_items": 11,
        "shard_items": 5,
        "suffix": ".tar",
        "identity": {"model": {"name": "a", "seed": 2}},
    }
    assert changes.keys() == {field.name for field in dataclasses.fields(Plan)}
    hashes = {plan(**{name: value}).hash for name, value in changes.items()}
    assert len(hashes | {plan().hash}) == len(changes) + 1


def test_the_hash_is_pinned() -> None:
    assert plan().hash == "b4a817759ce982a338dd1324567b68cdf8a832c1cd4e38194a592dfaf71dd038"


@given(identity=st.dictionaries(st.text(max_size=3), JSON, max_size=4))
def test_a_plan_survives_json(identity: dict[str, Any]) -> None:
    made = plan(identity=identity)
    again = Plan.from_json(json.loads(canonical_json(made.to_json())))
    assert again == made
    assert again.hash == made.hash


def test_a_caller_that_changes_its_mapping_does_not_change_the_plan() -> None:
    identity = {"seed": [1]}
    made = plan(identity=identity)
    before = made.hash
    identity["seed"].append(2)
    assert made.identity == {"seed": [1]}
    assert plan(identity={"seed": [1]}).hash == before


@pytest.mark.parametrize(
    "changes",
    [{"kind": "scan"}, {"num_items": -1}, {"shard_items": 0}, {"suffix": "parquet"}, {"suffix": ".part"}],
)
def test_impossible_plans_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match=next(iter(changes))):
        plan(**changes)


def test_binding_the_same_plan_again_changes_nothing(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    assert load_plan(directory) is None
    bind_plan(directory, plan())
    before = directory.plan_path.read_bytes()
    bind_plan(directory, plan())
    assert directory.plan_path.read_bytes() == before
    assert load_plan(directory) == plan()


def test_drift_names_both_hashes_and_every_difference(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    bind_plan(directory, plan(identity={"model": {"name": "a", "seed": 1}, "old": 1, "flag": True}))
    asked = plan(num_items=11, identity={"model": {"name": "a", "seed": 2}, "new": None, "flag": 1})
    with pytest.raises(PlanDrift) as raised:
        bind_plan(directory, asked)
    assert raised.value.differences == [
        ("identity.flag", True, 1),
        ("identity.model.seed", 1, 2),
        ("identity.new", "(absent)", None),
        ("identity.old", 1, "(absent)"),
        ("num_items", 10, 11),
    ]
    message = str(raised.value)
    assert asked.hash in message
    assert load_plan(directory).hash in message  # type: ignore[union-attr]
    assert "identity.model.seed: recorded 1, asked 2" in message


@given(schedule=st.lists(st.tuples(st.integers(0, 1), st.integers(1, 5)), max_size=10))
def test_of_two_plans_bound_at_once_exactly_one_is_refused(schedule: list[tuple[int, int]], tmp_path_factory) -> None:
    directory = PhaseDirectory(tmp_path_factory.mktemp("phase"))
    bodies = [lambda: bind_plan(directory, plan()), lambda: bind_plan(directory, plan(num_items=11))]
    raised = run_interleaved([Process(), Process()], bodies, schedule)
    assert sorted(type(error).__name__ for error in raised) == ["NoneType", "PlanDrift"]


def damage(directory: PhaseDirectory, **changes: Any) -> None:
    value = json.loads(directory.plan_path.read_bytes())
    directory.plan_path.write_text(json.dumps({**value, **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "schema 2, newer than 1"),
        ({"schema": True}, "'schema'"),
        ({"num_items": 12}, "changed after it was written"),
        ({"num_items": "10"}, "num_items"),
        ({"more": 1}, "exactly the fields"),
        ({"identity": []}, "identity"),
        ({"hash": None}, "changed after it was written"),
    ],
)
def test_a_plan_file_that_cannot_be_trusted_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    directory = PhaseDirectory(tmp_path)
    bind_plan(directory, plan())
    damage(directory, **changes)
    with pytest.raises(PlanError, match=message) as raised:
        load_plan(directory)
    assert "plan.json" in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\x00" * 20, b"\xff"])
def test_a_torn_or_foreign_plan_file_is_refused(tmp_path: Path, content: bytes) -> None:
    directory = PhaseDirectory(tmp_path)
    directory.plan_path.write_bytes(content)
    with pytest.raises(PlanError, match=r"plan\.json"):
        load_plan(directory)


def test_a_plan_that_nothing_was_made_from_is_replaced_with_its_inputs(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    bind_plan(directory, plan())
    bind_inputs(directory, {"a/b": "1"})
    replace_plan(directory, plan(), plan(num_items=11))
    assert load_plan(directory) == plan(num_items=11)
    assert not directory.inputs_path.exists()
    replace_plan(directory, plan(), plan(num_items=11))  # as asked already
    replace_plan(directory, plan(num_items=11), None)
    assert load_plan(directory) is None


def test_a_plan_is_replaced_only_for_the_one_that_is_there(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    bind_plan(directory, plan(num_items=12))
    with pytest.raises(PlanDrift, match="num_items: recorded 12, asked 11"):
        replace_plan(directory, plan(), plan(num_items=11))
    assert load_plan(directory) == plan(num_items=12)


@pytest.mark.parametrize("made", ["data/000/00000.txt", "markers/000/00000.json", "partial/000/x.part", "bad/x"])
def test_a_plan_that_something_was_made_from_stays(tmp_path: Path, made: str) -> None:
    directory = PhaseDirectory(tmp_path)
    bind_plan(directory, plan())
    (tmp_path / made).parent.mkdir(parents=True)
    assert directory.is_untouched()  # folders are no work
    (tmp_path / made).touch()
    with pytest.raises(PlanDrift):
        replace_plan(directory, plan(), plan(num_items=11))
    assert load_plan(directory) == plan()


def test_work_of_another_plan_than_the_bound_one_is_refused(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    with pytest.raises(PlanReplaced, match="no plan"):
        check_bound(directory, plan())
    bind_plan(directory, plan())
    check_bound(directory, plan())
    with pytest.raises(PlanReplaced, match="num_items: recorded 10, asked 11"):
        check_bound(directory, plan(num_items=11))


def test_a_replacement_that_is_killed_anywhere_leaves_one_of_the_two_plans_whole(tmp_path: Path) -> None:
    def started(name: str) -> PhaseDirectory:
        directory = PhaseDirectory(tmp_path / name)
        bind_plan(directory, plan())
        bind_inputs(directory, {"a/b": "1"})
        return directory

    def replace(directory: PhaseDirectory) -> None:
        replace_plan(directory, plan(), plan(num_items=11))

    calm = Process()
    assert run(calm, lambda: replace(started("calm")))
    found, num_kills = [], 0
    for call in range(len(calm.calls)):
        directory = started(str(call))
        num_kills += not run(Process(kill_at_call=call), lambda: replace(directory))  # noqa: B023
        found.append(load_plan(directory))
        replace(directory)
        assert (load_plan(directory), directory.inputs_path.exists()) == (plan(num_items=11), False)
    assert num_kills >= 5
    assert set(map(str, found)) == {str(plan()), str(plan(num_items=11))}
