"""Kill a worker at any file primitive and at any byte of any write, as often as you like: the result is the same."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharding.check import verify
from sharding.directory import PhaseDirectory
from sharding.marker import is_done, read_marker
from tests.sharding.faults import Process, run, run_interleaved
from tests.sharding.workload import BATCH_ITEMS, do_shard, expected_bytes, ignore, make_plan

PLAN = make_plan()
NUM_BATCHES = -(-PLAN.num_items // BATCH_ITEMS)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, int, int]:
    """(the right bytes, primitive calls of an undisturbed life, bytes it writes)."""
    directory = PhaseDirectory(tmp_path_factory.mktemp("calm"))
    process = Process()
    assert run(process, lambda: expected_bytes(directory, PLAN))
    return directory.data_path(0, ".parquet").read_bytes(), len(process.calls), process.num_bytes


def check_never_torn(directory: PhaseDirectory, right: bytes) -> None:
    outputs = [path for path in (directory.path / "data").rglob("*") if path.is_file()]
    assert all(path.read_bytes() == right for path in outputs)
    if directory.marked_shards():
        assert is_done(directory, PLAN, 0)


def check_converged(directory: PhaseDirectory, right: bytes) -> None:
    assert [path.name for path in (directory.path / "data").rglob("*") if path.is_file()] == ["00000.parquet"]
    assert directory.data_path(0, ".parquet").read_bytes() == right
    assert directory.marked_shards() == {0}
    assert is_done(directory, PLAN, 0)
    assert verify(directory, PLAN) == []
    assert read_marker(directory.marker_path(0)).counts.total == PLAN.num_items


@pytest.mark.parametrize("names", [("1_0_0", "1_0_1"), ("1_0_0", "2_0_0")])
@pytest.mark.parametrize("links", [True, False])
def test_a_kill_before_any_primitive_loses_at_most_one_batch(
    tmp_path: Path, calm: tuple[bytes, int, int], links: bool, names: tuple[str, str]
) -> None:
    right, num_calls, _ = calm
    num_kills = 0
    for call in range(num_calls):
        directory, made = PhaseDirectory(tmp_path / str(call)), list[int]()
        killed = Process(kill_at_call=call, links=links)
        num_kills += not run(killed, lambda: do_shard(directory, PLAN, 0, names[0], made.append))  # noqa: B023
        check_never_torn(directory, right)
        assert run(Process(links=links), lambda: do_shard(directory, PLAN, 0, names[1], made.append))  # noqa: B023
        check_converged(directory, right)
        assert NUM_BATCHES <= len(made) <= NUM_BATCHES + 1
    assert num_kills == num_calls


Kill = tuple[str, float]
kills = st.lists(st.tuples(st.sampled_from(["call", "byte"]), st.floats(0, 1, exclude_max=True)), max_size=6)


def killed_process(kill: Kill | None, num_calls: int, num_bytes: int, links: bool = True) -> Process:
    if kill is None:
        return Process(links=links)
    kind, fraction = kill
    if kind == "call":
        return Process(kill_at_call=int(fraction * num_calls), links=links)
    return Process(kill_at_byte=1 + int(fraction * num_bytes), links=links)


@settings(max_examples=150, deadline=None)
@given(kills=kills, links=st.booleans(), max_write=st.sampled_from([None, 1, 7]))
def test_any_sequence_of_kills_ends_in_the_same_bytes_with_no_batch_made_twice_but_the_one_in_the_making(
    calm: tuple[bytes, int, int], kills: list[Kill], links: bool, max_write: int | None
) -> None:
    right, num_calls, num_bytes = calm
    with tempfile.TemporaryDirectory() as name:
        directory, made, num_kills = PhaseDirectory(Path(name)), list[int](), 0
        for life, kill in enumerate(kills):
            process = killed_process(kill, num_calls, num_bytes, links=links)
            process.max_write = max_write
            attempt = f"1_0_{life}"
            num_kills += not run(process, lambda: do_shard(directory, PLAN, 0, attempt, made.append))  # noqa: B023
            check_never_torn(directory, right)
        assert run(Process(links=links), lambda: do_shard(directory, PLAN, 0, "last", made.append))
        check_converged(directory, right)
        assert NUM_BATCHES <= len(made) <= NUM_BATCHES + num_kills


@settings(max_examples=100, deadline=None)
@given(lives=st.lists(st.integers(1, 3000), min_size=1, max_size=4))
def test_lives_under_one_attempt_name_still_never_touch_what_an_earlier_one_left(
    calm: tuple[bytes, int, int], lives: list[int]
) -> None:
    right = calm[0]
    with tempfile.TemporaryDirectory() as name:
        directory = PhaseDirectory(Path(name))
        for num_bytes in lives:
            before = {path: path.read_bytes() for path in directory.partials(0)}
            finished = run(Process(kill_at_byte=num_bytes), lambda: do_shard(directory, PLAN, 0, "same", ignore))
            if finished:
                break
            assert all(path.read_bytes() == content for path, content in before.items())
        run(Process(), lambda: do_shard(directory, PLAN, 0, "same", ignore))
        check_converged(directory, right)


schedules = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 40)), max_size=30)
one_kill = st.none() | st.tuples(st.sampled_from(["call", "byte"]), st.floats(0, 1, exclude_max=True))


@settings(max_examples=150, deadline=None)
@given(
    schedule=schedules,
    kills=st.tuples(one_kill, one_kill),
    links=st.booleans(),
    names=st.sampled_from([("1_0_0", "1_0_1"), ("1_0_0", "2_0_0")]),
)
def test_two_attempts_in_any_order_of_steps_and_kills_end_in_the_same_bytes(
    calm: tuple[bytes, int, int],
    schedule: list[tuple[int, int]],
    kills: tuple[Kill | None, Kill | None],
    links: bool,
    names: tuple[str, str],
) -> None:
    right, num_calls, num_bytes = calm
    with tempfile.TemporaryDirectory() as name:
        directory = PhaseDirectory(Path(name))
        processes = [killed_process(kill, num_calls, num_bytes, links=links) for kill in kills]
        bodies = [lambda a=attempt: do_shard(directory, PLAN, 0, a, ignore) for attempt in names]
        raised = run_interleaved(processes, bodies, schedule)
        assert [error is not None for error in raised] == [process.dead for process in processes], raised
        check_never_torn(directory, right)
        assert run(Process(links=links), lambda: do_shard(directory, PLAN, 0, "last", ignore))
        check_converged(directory, right)


@settings(max_examples=150, deadline=None)
@given(schedule=schedules, links=st.booleans())
def test_two_attempts_whose_bytes_differ_leave_one_output_and_the_marker_that_fits_it(
    schedule: list[tuple[int, int]], links: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = PhaseDirectory(Path(name))
        bodies = [lambda s=salt: do_shard(directory, PLAN, 0, s, ignore, salt=s) for salt in ("one", "two")]
        raised = run_interleaved([Process(links=links), Process(links=links)], bodies, schedule)
        assert raised == [None, None]
        assert is_done(directory, PLAN, 0)
        assert verify(directory, PLAN) == []
        assert directory.work_files(0) == []
