import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharding.directory import PhaseDirectory
from sharding.frames import frame, valid_prefix
from sharding.partial import RecordLog
from tests.sharding.faults import Process, run, run_interleaved, running

payloads = st.lists(st.binary(max_size=12), max_size=5)


def open_log(directory: PhaseDirectory, attempt: str, plan_hash: str = "plan", shard: int = 0) -> RecordLog:
    return RecordLog.open(directory, shard, attempt, plan_hash)


def leave(directory: PhaseDirectory, attempt: str, records: list[bytes], plan_hash: str = "plan") -> Path:
    with open_log(directory, attempt, plan_hash) as log:
        for record in records[len(log.records) :]:
            log.append(record)
    return log.path


@given(records=payloads, cut=st.integers(0, 200))
def test_a_file_torn_at_any_byte_gives_its_whole_records(records: list[bytes], cut: int) -> None:
    frames = [frame(record) for record in records]
    torn = b"".join(frames)[:cut]
    num_whole = sum(sum(map(len, frames[: number + 1])) <= len(torn) for number in range(len(frames)))
    assert valid_prefix(torn) == records[:num_whole]


@given(records=payloads.filter(len), position=st.integers(0), flip=st.integers(1, 255))
def test_a_damaged_byte_ends_the_valid_prefix_at_its_record(records: list[bytes], position: int, flip: int) -> None:
    frames = [frame(record) for record in records]
    data = bytearray(b"".join(frames))
    position %= len(data)
    data[position] ^= flip
    num_before = sum(sum(map(len, frames[: number + 1])) <= position for number in range(len(frames)))
    assert valid_prefix(bytes(data)) == records[:num_before]


def test_zeros_after_a_power_failure_are_no_records() -> None:
    assert valid_prefix(frame(b"one") + bytes(64)) == [b"one"]
    assert valid_prefix(frame(b"") + frame(b"two")) == [b"", b"two"]


def test_a_successor_goes_on_from_the_longest_valid_prefix(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    # Made before there is anything to inherit, so that the three differ.
    logs = {attempt: open_log(directory, attempt) for attempt in ("a", "b", "c")}
    for attempt, num_records in {"a": 1, "b": 3, "c": 2}.items():
        for number in range(num_records):
            logs[attempt].append(b"record %d" % number)
        logs[attempt].close()
    with logs["c"].path.open("ab") as file:
        file.write(frame(b"torn")[:-1] + b"x" * 1000)
    log = open_log(directory, "d")
    assert log.records == [b"record 0", b"record 1", b"record 2"]
    log.append(b"record 3")
    log.close()
    assert open_log(directory, "e").records == [b"record %d" % number for number in range(4)]


def test_opening_leaves_every_other_file_as_it_is(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    paths = [leave(directory, attempt, [b"one", b"two"]) for attempt in ("a", "b")]
    paths[0].write_bytes(paths[0].read_bytes()[:-1])
    before = [path.read_bytes() for path in paths]
    log = open_log(directory, "c")
    log.append(b"three")
    log.discard()
    assert [path.read_bytes() for path in paths] == before
    assert directory.partials(0) == paths


def test_a_later_life_of_an_element_replaces_what_its_earlier_ones_left_and_nothing_else(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    path = leave(directory, "a", [b"one"])
    # The second file of one name is what two lives leave that Slurm does not tell apart.
    for name in ("7_3_0", "7_3_1-2", "7_3_10", "7_3_2", "7_3_3", "7_30_0", "8_3_0", "17_3_0"):
        directory.partial_path(0, name).write_bytes(path.read_bytes())
    log = open_log(directory, "7_3_2")
    assert log.records == [b"one"]
    kept = ["7_3_10", "7_3_2", "7_3_2-2", "7_3_3", "7_30_0", "8_3_0", "17_3_0", "a"]
    assert set(directory.partials(0)) == {directory.partial_path(0, name) for name in kept}


def test_the_copy_and_its_name_are_on_disk_before_the_original_goes(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    leave(directory, "7_3_0", [b"one", b"two"])
    with running(Process()) as process:
        open_log(directory, "7_3_1")
    order = [name for name, _ in process.calls if name in ("write", "fsync", "unlink")]
    assert order == ["write", "fsync", "fsync", "unlink"]


def test_a_full_disk_while_copying_leaves_the_original(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    path = leave(directory, "7_3_0", [b"one" * 100])
    with running(Process(disk_bytes=150)), pytest.raises(OSError, match="No space left"):
        open_log(directory, "7_3_1")
    assert path.exists()
    assert open_log(directory, "7_3_2").records == [b"one" * 100]


def test_a_kill_at_any_step_of_taking_over_loses_no_record(tmp_path: Path) -> None:
    records = [b"one", b"two", b"three"]
    for call in range(100):
        directory = PhaseDirectory(tmp_path / str(call))
        leave(directory, "7_3_0", records)
        finished = run(Process(kill_at_call=call), lambda: open_log(directory, "7_3_1"))  # noqa: B023
        log = open_log(directory, "7_3_2")
        assert log.records == records
        assert directory.partials(0) == [log.path]
        if finished:
            break
    assert 8 <= call < 99


def test_a_reader_whose_source_is_taken_over_meanwhile_finds_the_copy(tmp_path: Path) -> None:
    records = [b"one", b"two", b"three"]
    alone = Process()
    leave(PhaseDirectory(tmp_path / "alone"), "7_3_0", records)
    assert run(alone, lambda: open_log(PhaseDirectory(tmp_path / "alone"), "7_3_1"))
    for first in range(len(alone.calls) + 1):
        for second in range(0, len(alone.calls) + 1, 3):
            directory, found = PhaseDirectory(tmp_path / f"{first}-{second}"), list[list[bytes]]()
            leave(directory, "7_3_0", records)

            def body(name: str, place: PhaseDirectory = directory, seen: list[list[bytes]] = found) -> None:
                seen.append(open_log(place, name).records)

            bodies = [lambda b=body: b("7_3_1"), lambda b=body: b("8_3_0")]
            raised = run_interleaved([Process(), Process()], bodies, [(1, first), (0, second), (1, 1000)])
            assert (raised, found) == ([None, None], [records, records])


def test_a_zombie_whose_file_its_successor_removed_goes_on_and_closes_without_an_error(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    zombie = open_log(directory, "7_3_0")
    zombie.append(b"one")
    successor = open_log(directory, "7_3_1")
    zombie.append(b"two")
    assert (zombie.records, successor.records) == ([b"one", b"two"], [b"one"])
    zombie.discard()
    assert directory.partials(0) == [successor.path]


def test_partials_of_another_plan_or_shard_are_ignored(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    leave(directory, "a", [b"one"], plan_hash="old plan")
    foreign = open_log(directory, "b", shard=1)
    foreign.append(b"of shard 1")
    foreign.close()
    foreign.path.rename(directory.partial_path(0, "c"))
    assert open_log(directory, "d").records == []


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"not a log at all", frame(b"[]") + frame(b"x")])
def test_a_partial_without_a_valid_header_is_ignored(tmp_path: Path, content: bytes) -> None:
    directory = PhaseDirectory(tmp_path)
    path = directory.partial_path(0, "a")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert open_log(directory, "b").records == []


def test_a_zombie_that_goes_on_writing_neither_sees_nor_disturbs_its_successor(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    zombie = open_log(directory, "zombie")
    zombie.append(b"one")
    successor = open_log(directory, "successor")
    zombie.append(b"two, by the zombie")
    successor.append(b"two, by the successor")
    zombie.append(b"three, by the zombie")
    assert successor.records == [b"one", b"two, by the successor"]
    successor.close()
    zombie.close()
    assert valid_prefix(successor.path.read_bytes())[1:] == successor.records
    assert valid_prefix(zombie.path.read_bytes())[1:] == zombie.records
    successor.discard()
    assert directory.partials(0) == [zombie.path]


def test_an_attempt_whose_name_is_taken_gets_a_file_of_its_own(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    paths = {leave(directory, "same", [b"%d" % number for number in range(lives)]) for lives in (1, 2, 3)}
    assert {path.name for path in paths} == {"00000.same.part", "00000.same-2.part", "00000.same-3.part"}


def test_a_full_disk_raises_enospc_and_what_was_whole_is_kept(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    with running(Process(disk_bytes=180)) as process:
        log = open_log(directory, "a")
        with pytest.raises(OSError) as raised:
            while True:
                log.append(b"0123456789")
    assert raised.value.errno == errno.ENOSPC
    assert process.num_bytes == 180
    num_whole = len(log.records)
    assert num_whole == (180 - len(frame(valid_prefix(log.path.read_bytes())[0]))) // 18
    # There is room again; but behind the torn record nothing would be found.
    with pytest.raises(ValueError, match="failed half-way"):
        log.append(b"0123456789")
    assert open_log(directory, "b").records == [b"0123456789"] * num_whole


def test_a_kernel_that_takes_a_few_bytes_at_a_time_gets_them_all(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    with running(Process(max_write=3)):
        path = leave(directory, "a", [b"0123456789", b""])
    assert valid_prefix(path.read_bytes())[1:] == [b"0123456789", b""]


def test_a_record_is_one_write(tmp_path: Path) -> None:
    with running(Process()) as process:
        log = open_log(PhaseDirectory(tmp_path), "a")
        log.append(b"one")
        log.append(b"two")
    assert [name for name, _ in process.calls].count("write") == 3


@pytest.mark.parametrize(("fsync_every_s", "num_fsyncs"), [(0.0, 4), (1e9, 1)])
def test_fsync_is_as_seldom_as_asked_and_always_on_close(tmp_path: Path, fsync_every_s: float, num_fsyncs: int) -> None:
    with running(Process()) as process:
        log = RecordLog.open(PhaseDirectory(tmp_path), 0, "a", "plan", fsync_every_s=fsync_every_s)
        log.append(b"one")
        log.append(b"two")
        log.close()
        log.close()
    assert [name for name, _ in process.calls].count("fsync") == num_fsyncs


def test_a_closed_log_takes_no_more(tmp_path: Path) -> None:
    log = open_log(PhaseDirectory(tmp_path), "a")
    log.close()
    with pytest.raises(ValueError, match="is closed"):
        log.append(b"one")
