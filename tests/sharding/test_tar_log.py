import errno
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharding import ustar
from sharding.check import verify
from sharding.directory import PhaseDirectory
from sharding.marker import Counts, Marker, is_done, read_marker
from sharding.plan import Plan
from sharding.publication import adopt_output, publish_shard
from sharding.tar_log import Kept, TarLog, own_members
from sharding.tar_scan import Member
from tests.sharding.faults import Killed, Process, run, run_interleaved, running
from tests.sharding.tars import BATCH_ITEMS, Item, all_bytes, count_tar, whole_batches, whole_items

ITEMS = [
    Item(b"\xff\xd8one\xff\xd9" * 90, "a fox"),
    Item(None, "no_artwork"),
    Item(b"\xff\xd8two\xff\xd9", "ein Füchslein 🦊"),
    Item(b"", ""),
    Item(None, "unsafe"),
]
PARTS = all_bytes(ITEMS)
RIGHT = b"".join(PARTS) + ustar.END
PLAN = Plan("render", "draw", "map", len(ITEMS), len(ITEMS), ".tar", {})
FACTS = {"inputs_hash": "0" * 64, "promise": "bytes", "provenance": {}}


def open_log(directory: PhaseDirectory, attempt: str) -> TarLog[list[Item]]:
    return TarLog.open(directory, 0, attempt, whole_items)


def leave(directory: PhaseDirectory, attempt: str, content: bytes) -> Path:
    path = directory.partial_path(0, attempt)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def kept_of(content: bytes) -> Kept[list[Item]]:
    return whole_items(content, own_members(content))


def do_shard(directory: PhaseDirectory, attempt: str, made: Callable[[int], None]) -> Marker:
    """One attempt at the shard, as a worker does it; `made` is told of every batch before it is stored."""
    if is_done(directory, PLAN, 0):
        return read_marker(directory.marker_path(0))
    adopted = adopt_output(directory, PLAN, 0, count_tar, **FACTS)  # type: ignore[arg-type]
    if adopted is not None:
        return adopted
    log = TarLog.open(directory, 0, attempt, whole_batches)
    for start in range(log.kept.num_items, len(ITEMS), BATCH_ITEMS):
        made(start)
        log.append(b"".join(PARTS[start : start + BATCH_ITEMS]))
    counts = Counts.of([item.text if item.picture is None else None for item in ITEMS])
    return publish_shard(directory, PLAN, 0, log.finish(), counts, **FACTS)  # type: ignore[arg-type]


def ignore(start: int) -> None:
    """Take no note of a batch."""


def check_converged(directory: PhaseDirectory) -> None:
    assert [path.name for path in (directory.path / "data").rglob("*") if path.is_file()] == ["00000.tar"]
    assert directory.data_path(0, ".tar").read_bytes() == RIGHT
    assert is_done(directory, PLAN, 0)
    assert verify(directory, PLAN) == []
    assert directory.work_files(0) == []
    assert read_marker(directory.marker_path(0)).counts == Counts(5, 3, 2, {"no_artwork": 1, "unsafe": 1})


def test_the_partial_itself_is_published_and_its_data_written_once(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    log = open_log(directory, "1_0_0")
    for part in PARTS:
        log.append(part)
    inode = log.path.stat().st_ino
    source = log.finish()
    assert source == log.path == directory.partial_path(0, "1_0_0")
    assert source.read_bytes() == RIGHT
    marker = publish_shard(directory, PLAN, 0, source, Counts.of([None] * 5), **FACTS)  # type: ignore[arg-type]
    assert directory.data_path(0, ".tar").stat().st_ino == inode
    assert marker.size_bytes == len(RIGHT)
    log.discard()
    assert directory.data_path(0, ".tar").read_bytes() == RIGHT


def test_a_finished_tar_takes_no_more(tmp_path: Path) -> None:
    log = open_log(PhaseDirectory(tmp_path), "a")
    path = log.finish()
    for write in (lambda: log.append(PARTS[0]), log.finish):
        with pytest.raises(ValueError, match="is closed"):
            write()
    log.close()
    assert path.read_bytes() == ustar.END


def test_what_is_not_whole_blocks_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    log = open_log(PhaseDirectory(tmp_path), "a")
    with pytest.raises(ValueError, match="whole blocks"):
        log.append(PARTS[0][:-1])
    log.append(PARTS[0])
    assert log.finish().read_bytes() == PARTS[0] + ustar.END


def test_a_successor_goes_on_from_the_most_items_and_leaves_every_other_file_alone(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    contents = [
        PARTS[0],
        b"".join(PARTS[:3]) + PARTS[3][:700],
        b"".join(PARTS[:2]),
        # Longer, but damaged early on.
        b"".join(PARTS).replace(b"one", b"0ne", 1),
        b"",
        bytes(5120),
        b"not a tar at all" * 100,
    ]
    paths = [leave(directory, f"a{number}", content) for number, content in enumerate(contents)]
    log = open_log(directory, "b")
    assert (log.kept.num_items, log.kept.facts) == (3, ITEMS[:3])
    assert log.path.read_bytes() == b"".join(PARTS[:3])
    log.append(b"".join(PARTS[3:]))
    assert log.finish().read_bytes() == RIGHT
    assert [path.read_bytes() for path in paths] == contents


def test_nothing_to_inherit_is_judged_as_well(tmp_path: Path) -> None:
    with open_log(PhaseDirectory(tmp_path), "a") as log:
        assert log.kept == Kept(0, 0, [])
        assert log.path.read_bytes() == b""


def test_a_tar_that_was_finished_but_not_published_is_gone_on_from(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    leave(directory, "7_3_0", RIGHT)
    log = open_log(directory, "7_3_1")
    assert log.kept.num_items == len(ITEMS)
    assert log.finish().read_bytes() == RIGHT


def test_a_later_life_of_an_element_replaces_what_its_earlier_one_left(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    for attempt in ("7_3_0", "8_3_0", "7_3_2"):
        leave(directory, attempt, PARTS[0])
    with open_log(directory, "7_3_1") as log:
        assert log.kept.num_items == 1
    assert {path.name for path in directory.partials(0)} == {f"00000.{one}.part" for one in ("7_3_1", "7_3_2", "8_3_0")}


@pytest.mark.parametrize("end", [1, 512, len(PARTS[0]) + 1])
def test_an_application_that_would_keep_half_a_member_is_told(tmp_path: Path, end: int) -> None:
    directory = PhaseDirectory(tmp_path)
    path = leave(directory, "a", b"".join(PARTS))

    def half(data: bytes, members: list[Member]) -> Kept[None]:
        return Kept(1, end, None) if members else Kept(0, 0, None)

    with pytest.raises(ValueError, match="where a member ends"):
        TarLog.open(directory, 0, "b", half)
    assert directory.partials(0) == [path]


def test_cut_at_any_byte_it_gives_its_whole_items() -> None:
    ends = [sum(map(len, PARTS[:number])) for number in range(len(PARTS) + 1)]
    for cut in range(len(RIGHT) + 1):
        kept = kept_of(RIGHT[:cut])
        num_whole = sum(end <= cut for end in ends) - 1
        assert (kept.num_items, kept.end, kept.facts) == (num_whole, ends[num_whole], ITEMS[:num_whole])


def test_cut_at_any_byte_and_filled_with_zeros_as_after_a_power_failure_it_gives_no_wrong_item() -> None:
    for cut in range(0, len(RIGHT), 7):
        kept = kept_of(RIGHT[:cut] + bytes(len(RIGHT) - cut))
        assert kept.facts == ITEMS[: kept.num_items]
        assert RIGHT[: kept.end] == b"".join(PARTS[: kept.num_items])


@pytest.mark.parametrize("flip", [0x01, 0x20, 0xFF])
def test_a_flipped_byte_anywhere_ends_what_is_kept_at_its_item(flip: int) -> None:
    for number in range(len(PARTS)):
        start = sum(map(len, PARTS[:number]))
        for position in range(start, start + len(PARTS[number])):
            damaged = bytearray(RIGHT)
            damaged[position] ^= flip
            kept = kept_of(bytes(damaged))
            assert (kept.num_items, kept.end) == (number, start), position


@pytest.mark.parametrize("flip", [0x01, 0x20, 0xFF])
def test_every_byte_around_a_content_is_checked_without_the_application(flip: int) -> None:
    first, second = ustar.members([("a.jpg", b"x" * 700)]), ustar.members([("b.jpg", b"y" * 10)])
    assert [member.name for member in own_members(first + second)] == ["a.jpg", "b.jpg"]
    for position in (*range(512), *range(512 + 700, len(first))):
        damaged = bytearray(first + second)
        damaged[position] ^= flip
        assert own_members(bytes(damaged)) == [], position


def test_members_of_another_writer_are_not_gone_on_from() -> None:
    member = tarfile.TarInfo("b.jpg")
    member.mtime = 1
    other = member.tobuf(tarfile.USTAR_FORMAT)
    assert [one.name for one in own_members(PARTS[0] + other + PARTS[1])] == [
        f"{0:09d}.{e}" for e in ("jpg", "txt", "json")
    ]


items = st.lists(st.builds(Item, st.binary(max_size=600) | st.none(), st.text(max_size=20)), max_size=5)


@settings(max_examples=60, deadline=None)
@given(items=items, cut=st.floats(0, 1))
def test_any_items_go_on_from_any_cut_to_the_same_bytes(items: list[Item], cut: float) -> None:
    parts = all_bytes(items)
    right = b"".join(parts) + ustar.END
    with tempfile.TemporaryDirectory() as name:
        directory = PhaseDirectory(Path(name))
        leave(directory, "a", right[: int(cut * len(right))])
        log = open_log(directory, "b")
        assert log.kept.facts == items[: log.kept.num_items]
        for part in parts[log.kept.num_items :]:
            log.append(part)
        assert log.finish().read_bytes() == right


def test_a_full_disk_raises_enospc_and_keeps_the_whole_items(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    disk_bytes = len(PARTS[0]) + len(PARTS[1]) + 700
    with running(Process(disk_bytes=disk_bytes)):
        log = open_log(directory, "a")
        with pytest.raises(OSError) as raised:
            for part in PARTS:
                log.append(part)
    assert raised.value.errno == errno.ENOSPC
    assert log.path.stat().st_size == disk_bytes
    # There is room again; but behind the torn member nothing would be found.
    for write in (lambda: log.append(PARTS[2]), log.finish):
        with pytest.raises(ValueError, match="failed half-way"):
            write()
    log.close()
    assert open_log(directory, "b").kept.facts == ITEMS[:2]


@pytest.mark.parametrize("missing", [1, 600, 1024])
def test_a_disk_that_is_full_at_the_end_of_the_archive_publishes_nothing(tmp_path: Path, missing: int) -> None:
    directory = PhaseDirectory(tmp_path)
    with running(Process(disk_bytes=len(RIGHT) - missing)), pytest.raises(OSError, match="No space left"):
        do_shard(directory, "1_0_0", ignore)
    assert not directory.data_path(0, ".tar").exists()
    made: list[int] = []
    do_shard(directory, "1_0_1", made.append)
    assert made == [4]
    check_converged(directory)


def test_a_full_disk_while_copying_leaves_the_original(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    path = leave(directory, "7_3_0", PARTS[0])
    with running(Process(disk_bytes=300)), pytest.raises(OSError, match="No space left"):
        open_log(directory, "7_3_1")
    assert path.read_bytes() == PARTS[0]
    assert open_log(directory, "7_3_2").kept.num_items == 1


def test_a_zombie_that_goes_on_writing_its_own_disturbs_neither_successor_nor_output(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    zombie = TarLog.open(directory, 0, "1_0_0", whole_batches)
    zombie.append(b"".join(PARTS[:2]))
    made: list[int] = []
    successor = TarLog.open(directory, 0, "2_0_0", whole_batches)
    zombie.append(b"".join(PARTS[2:4]))
    assert successor.kept.num_items == 2
    successor.discard()
    do_shard(directory, "2_0_1", made.append)
    assert made == [4]
    check_converged(directory)
    zombie.append(PARTS[4])
    zombie.append(PARTS[4])
    zombie.close()
    check_converged(directory)


def test_a_zombie_whose_file_its_later_life_removed_is_told_that_it_is_gone(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    zombie = open_log(directory, "7_3_0")
    zombie.append(PARTS[0])
    with open_log(directory, "7_3_1"):
        zombie.append(b"".join(PARTS[1:]))
        with pytest.raises(FileNotFoundError):
            publish_shard(directory, PLAN, 0, zombie.finish(), Counts.of([None] * 5), **FACTS)  # type: ignore[arg-type]
    do_shard(directory, "7_3_2", ignore)
    check_converged(directory)


def test_a_kill_between_link_and_marker_leaves_a_tar_that_is_adopted_and_made_no_second_time(tmp_path: Path) -> None:
    calm = Process()
    assert run(calm, lambda: do_shard(PhaseDirectory(tmp_path / "calm"), "1_0_0", ignore))
    names = [name for name, _ in calm.calls]
    linked, marked = names.index("link"), names.index("replace")
    assert marked - linked > 3
    for call in range(linked + 1, marked + 1):
        directory, made = PhaseDirectory(tmp_path / str(call)), list[int]()
        assert not run(Process(kill_at_call=call), lambda: do_shard(directory, "1_0_0", ignore))  # noqa: B023
        assert directory.data_path(0, ".tar").read_bytes() == RIGHT
        assert directory.marked_shards() == set()
        do_shard(directory, "1_0_1", made.append)
        assert made == []
        check_converged(directory)


@pytest.mark.parametrize("names", [("1_0_0", "1_0_1"), ("1_0_0", "2_0_0")])
@pytest.mark.parametrize("links", [True, False])
def test_a_kill_before_any_primitive_loses_at_most_one_batch(
    tmp_path: Path, links: bool, names: tuple[str, str]
) -> None:
    num_batches = -(-len(ITEMS) // BATCH_ITEMS)
    for call in range(1000):
        directory, made = PhaseDirectory(tmp_path / str(call)), list[int]()
        killed = Process(kill_at_call=call, links=links)
        finished = run(killed, lambda: do_shard(directory, names[0], made.append))  # noqa: B023
        assert run(Process(links=links), lambda: do_shard(directory, names[1], made.append))  # noqa: B023
        check_converged(directory)
        assert num_batches <= len(made) <= num_batches + 1
        if finished:
            break
    assert 20 <= call < 999


@settings(max_examples=100, deadline=None)
@given(
    kills=st.lists(st.integers(1, 2 * len(RIGHT)), max_size=5),
    links=st.booleans(),
    max_write=st.sampled_from([None, 300]),
    same_element=st.booleans(),
)
def test_kills_at_any_bytes_end_in_the_same_bytes(
    kills: list[int], links: bool, max_write: int | None, same_element: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory, made, num_kills = PhaseDirectory(Path(name)), list[int](), 0
        for life, at_byte in enumerate(kills):
            attempt = f"1_0_{life}" if same_element else f"{life}_0_0"
            process = Process(kill_at_byte=at_byte, links=links, max_write=max_write)
            num_kills += not run(process, lambda: do_shard(directory, attempt, made.append))  # noqa: B023
            assert all(path.read_bytes() == RIGHT for path in (directory.path / "data").rglob("*.tar"))
        assert run(Process(links=links), lambda: do_shard(directory, "9_0_9", made.append))
        check_converged(directory)
        assert 3 <= len(made) <= 3 + num_kills


@settings(max_examples=100, deadline=None)
@given(
    schedule=st.lists(st.tuples(st.integers(0, 1), st.integers(1, 40)), max_size=30),
    links=st.booleans(),
    names=st.sampled_from([("1_0_0", "1_0_1"), ("1_0_0", "2_0_0")]),
)
def test_two_attempts_in_any_order_of_steps_end_in_the_same_bytes(
    schedule: list[tuple[int, int]], links: bool, names: tuple[str, str]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = PhaseDirectory(Path(name))
        bodies = [lambda a=attempt: do_shard(directory, a, ignore) for attempt in names]
        raised = run_interleaved([Process(links=links), Process(links=links)], bodies, schedule)
        # An earlier life of the same element may find its file taken over; of others nobody removes anything but the
        # winner, and then the shard is done.
        assert not any(isinstance(error, Killed) for error in raised)
        assert all(error is None or isinstance(error, FileNotFoundError) for error in raised)
        assert raised.count(None) >= 1
        do_shard(directory, "9_0_9", ignore)
        check_converged(directory)
