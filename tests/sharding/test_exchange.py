from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharding import files
from sharding.exchange import SortedFile, inspect_sorted, merge_range, write_sorted
from sharding.sorted_layout import key_range
from sharding.sorting import sort_rows
from sharding.table import TableError

SCHEMA = pa.schema(
    [
        pa.field("key", pa.uint64(), nullable=False),
        ("id", pa.uint64()),
        ("text", pa.string()),
        ("score", pa.float64()),
        ("matches", pa.list_(pa.uint32())),
    ]
)
NO_NULLS = pa.schema([("key", pa.uint64()), pa.field("n", pa.int8(), nullable=False)])
TOP = 2**64

keys = st.one_of(st.integers(0, TOP - 1), st.sampled_from([0, 1, 2**52 - 1, 2**52, 2**63, TOP - 1]))
rows = st.fixed_dictionaries(
    {
        "key": keys,
        "text": st.one_of(st.none(), st.text(max_size=6)),
        "score": st.one_of(st.none(), st.floats(allow_nan=False)),
        "matches": st.one_of(st.none(), st.lists(st.one_of(st.none(), st.integers(0, 2**32 - 1)), max_size=4)),
    }
)


@st.composite
def tables(draw: st.DrawFn, max_size: int = 30) -> pa.Table:
    """Rows whose ids tell them apart; equal keys are likely."""
    found = draw(st.lists(rows, max_size=max_size))
    few = draw(st.lists(keys, min_size=1, max_size=3))
    ids = draw(st.permutations(range(len(found))))
    return table_of([{**row, "key": few[0] if draw(st.booleans()) else row["key"], "id": i}
                     for i, row in zip(ids, found, strict=True)])  # fmt: skip


def table_of(found: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(found, schema=SCHEMA)


def some_table(num_rows: int, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    return table_of(
        [
            {"key": int(key), "id": row, "text": f"a red fox {key % 1000}, 🦊", "score": row / 7, "matches": [row, 7]}
            for row, key in enumerate(random.integers(0, TOP, num_rows, dtype=np.uint64))
        ]
    )


def in_order(table: pa.Table) -> list[dict[str, Any]]:
    return sorted(table.to_pylist(), key=lambda row: (row["key"], row["id"]))


def shuffled(table: pa.Table, seed: int) -> pa.Table:
    return table.take(np.random.default_rng(seed).permutation(table.num_rows))


def write(path: Path, table: pa.Table, **options: Any) -> Path:
    write_sorted(path, table, "key", ties=["id"], **options)
    return path


def damage(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data and len(old) == len(new)
    path.write_bytes(data.replace(old, new))


# --- writing


def test_rows_come_back_sorted_by_key_and_then_by_ties(tmp_path: Path) -> None:
    table = some_table(500)
    with SortedFile.open(write(tmp_path / "a", table)) as found:
        assert (found.num_rows, found.key, found.ties, found.schema) == (500, "key", ("id",), SCHEMA)
        assert found.rows(0).to_pylist() == in_order(table)


@settings(max_examples=60, deadline=None)
@given(table=tables(), seed=st.integers(0, 99), cut=st.integers(0, 30))
def test_bytes_follow_from_the_rows_and_not_from_their_order_or_chunks(table: pa.Table, seed: int, cut: int) -> None:
    other = shuffled(table, seed)
    chunked = pa.concat_tables([other.slice(0, cut), other.slice(min(cut, other.num_rows))])
    with tempfile.TemporaryDirectory() as folder:
        one, two = Path(folder) / "one", Path(folder) / "two"
        assert write(one, table).read_bytes() == write(two, chunked).read_bytes()
        assert inspect_sorted(one, SCHEMA) == table.num_rows


def test_rows_that_the_ties_do_not_tell_apart_are_ordered_by_their_other_columns(tmp_path: Path) -> None:
    table = table_of([{"key": 1, "id": 1, "text": text, "score": 0.0, "matches": []} for text in "cabd"])
    assert write(tmp_path / "a", table).read_bytes() == write(tmp_path / "b", shuffled(table, 3)).read_bytes()
    with SortedFile.open(tmp_path / "a") as found:
        assert found.rows(0).column("text").to_pylist() == list("abcd")


def test_what_lies_under_nulls_is_not_in_the_bytes(tmp_path: Path) -> None:
    def column(kind: pa.DataType, raw: bytes) -> pa.Array:
        return pa.Array.from_buffers(kind, 2, [pa.py_buffer(b"\x01"), pa.py_buffer(raw)])

    key = pa.array([1, 2], pa.uint64())
    one, two = (
        pa.table({"key": key, "n": column(pa.int32(), bytes([1, 0, 0, 0, under, 0, 0, 0]))}) for under in (5, 6)
    )
    write_sorted(tmp_path / "one", one, "key")
    write_sorted(tmp_path / "two", two, "key")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_file_is_plain_arrow_with_one_uncompressed_batch_and_keeps_the_callers_metadata(tmp_path: Path) -> None:
    table = some_table(50).replace_schema_metadata({"bank": "x"})
    reader = pa.ipc.open_file(write(tmp_path / "a", table))
    assert reader.num_record_batches == 1
    assert reader.get_batch(0).to_pylist() == in_order(table)
    with SortedFile.open(tmp_path / "a") as found:
        assert found.rows(0).schema.metadata == {b"bank": b"x"}
        write_sorted(tmp_path / "b", found.rows(0), "key", ties=["id"])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_large_texts_and_lists_work_too(tmp_path: Path) -> None:
    large = pa.schema([("key", pa.uint64()), ("id", pa.uint64()), ("text", pa.large_string()),
                       ("matches", pa.large_list(pa.uint64())), ("blob", pa.large_binary())])  # fmt: skip
    table = pa.Table.from_pylist(
        [{"key": 9 - n, "id": n, "text": "x" * n, "matches": [n] * n, "blob": b"\x00" * n} for n in range(9)], large
    )
    assert inspect_sorted(write(tmp_path / "a", table), large) == 9
    with SortedFile.open(tmp_path / "a") as found:
        assert found.rows(0).to_pylist() == in_order(table)


@pytest.mark.parametrize(
    ("table", "options", "words"),
    [
        (pa.table({"key": pa.array([1], pa.int64())}), {}, "must be uint64"),
        (pa.table({"key": pa.array([1, None], pa.uint64())}), {}, "1 nulls"),
        (pa.table({"other": [1]}), {}, "must be among the columns"),
        (some_table(1), {"ties": ["none"]}, "must be among the columns"),
        (some_table(1), {"ties": ["matches"]}, "must have an order"),
        (some_table(1), {"range_bits": 17}, "range_bits must be 0 to 16"),
        (some_table(1), {"range_bits": -1}, "range_bits must be 0 to 16"),
        (some_table(1).append_column("d", pa.array(["x"]).dictionary_encode()), {}, "'d' must hold numbers"),
        (pa.Table.from_pylist([{"key": 1}], schema=NO_NULLS), {}, "must not hold nulls"),
    ],
)  # fmt: skip
def test_what_cannot_be_sorted_reproducibly_is_refused_and_nothing_is_written(
    tmp_path: Path, table: pa.Table, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(TableError, match=words):
        write_sorted(tmp_path / "a", table, "key", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_text_column_that_counts_in_32_bits_is_refused_beyond_2_gib_and_told_what_to_do(tmp_path: Path) -> None:
    text = pa.array(["x" * (1 << 26)])  # 33 times the same memory
    chunks = pa.chunked_array([text] * 33)
    table = pa.table({"key": pa.array(range(33), pa.uint64()), "text": chunks})
    with pytest.raises(TableError, match=r"'text' of type string.*large_string"):
        write_sorted(tmp_path / "a", table, "key")
    assert list(tmp_path.iterdir()) == []


def test_writing_again_never_changes_a_file_that_was_linked_as_the_output(tmp_path: Path) -> None:
    write(tmp_path / "staged", some_table(5))
    (tmp_path / "output").hardlink_to(tmp_path / "staged")
    before = (tmp_path / "output").read_bytes()
    write(tmp_path / "staged", some_table(6))
    assert (tmp_path / "output").read_bytes() == before


def test_a_full_disk_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "write", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write(tmp_path / "a", some_table(5))
    assert caught.value.errno == errno.ENOSPC


def test_writing_takes_no_more_than_one_copy_besides_the_table_and_its_largest_column(tmp_path: Path) -> None:
    program = """
import resource, sys
from pathlib import Path
import numpy as np, pyarrow as pa
from sharding.exchange import write_sorted

random = np.random.default_rng(0)
def table(rows):
    text = pa.Array.from_buffers(pa.string(), rows, [
        None, pa.py_buffer(np.arange(0, 180 * (rows + 1), 180, dtype=np.int32)), pa.py_buffer(b"x" * (180 * rows))])
    return pa.table({"key": random.integers(0, 2**64, rows, dtype=np.uint64), "id": np.arange(rows, dtype=np.uint64), "text": text})

write_sorted(Path(sys.argv[1]), table(1000), "key", ["id"])  # loads everything that is loaded once
big = table(400_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write_sorted(Path(sys.argv[1]), big, "key", ["id"])
print(big.nbytes, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""  # noqa: E501
    outcome = subprocess.run([sys.executable, "-c", program, str(tmp_path / "a")], capture_output=True, check=True)
    size_bytes, growth_bytes = map(int, outcome.stdout.split())
    assert growth_bytes < 2 * size_bytes  # three times its size with the table itself
    assert (tmp_path / "a").stat().st_size < size_bytes + 200_000


# --- reading


@settings(max_examples=80, deadline=None)
@given(table=tables(), bits=st.integers(0, 12), bounds=st.lists(keys, max_size=2).map(sorted))
def test_a_range_is_exactly_the_rows_between_its_bounds(table: pa.Table, bits: int, bounds: list[int]) -> None:
    lo, hi = (bounds[0] if bounds else 0), (bounds[1] if len(bounds) > 1 else None)
    expected = [row for row in in_order(table) if lo <= row["key"] < (TOP if hi is None else hi)]
    with (
        tempfile.TemporaryDirectory() as folder,
        SortedFile.open(write(Path(folder) / "a", table, range_bits=bits)) as found,
    ):
        assert found.rows(lo, hi).to_pylist() == expected


@settings(max_examples=80, deadline=None)
@given(table=tables(), split=st.lists(st.integers(0, 4), min_size=30, max_size=30), cuts=st.lists(keys, max_size=5))
def test_ranges_of_many_files_together_are_all_rows_once_in_order(
    table: pa.Table, split: list[int], cuts: list[int]
) -> None:
    of_row = np.array(split[: table.num_rows], dtype=np.int64)
    with tempfile.TemporaryDirectory() as folder:
        parts = [table.filter(pa.array(of_row == n, pa.bool_())) for n in range(5)]
        opened = [SortedFile.open(write(Path(folder) / str(n), part)) for n, part in enumerate(parts)]
        bounds = [0, *sorted(cuts), None]
        merged = [merge_range(opened, lo or 0, hi) for lo, hi in pairwise(bounds)]
        assert [row for part in merged for row in part.to_pylist()] == in_order(table)
        whole = merge_range(opened, 0)
        assert whole.schema == SCHEMA
        assert whole.equals(merge_range(opened[::-1], 0))
        assert all(column.num_chunks == 1 for column in whole.columns)


@pytest.mark.parametrize("count", [1, 3, 8, 97, 1 << 16])
def test_key_ranges_cover_all_keys_without_a_gap_and_are_of_one_size(count: int) -> None:
    bounds = [key_range(n, count) for n in range(count)]
    assert (bounds[0][0], bounds[-1][1]) == (0, TOP)
    assert all(one[1] == other[0] for one, other in pairwise(bounds))
    sizes = {hi - lo for lo, hi in bounds}
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("index", [-1, 3])
def test_a_key_range_that_is_not_there_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match="0 <= index < count"):
        key_range(index, 3)


@settings(max_examples=40, deadline=None)
@given(table=tables(), split=st.lists(st.integers(0, 2), min_size=30, max_size=30), bound=keys)
def test_rows_that_are_not_wanted_are_left_out_and_the_others_merged_as_ever(
    table: pa.Table, split: list[int], bound: int
) -> None:
    def wanted(rows: pa.Table) -> np.ndarray:
        return np.array([row["key"] % 2 == 0 for row in rows.to_pylist()], dtype=bool)

    of_row = np.array(split[: table.num_rows], dtype=np.int64)
    with tempfile.TemporaryDirectory() as folder:
        parts = [table.filter(pa.array(of_row == n, pa.bool_())) for n in range(3)]
        opened = [SortedFile.open(write(Path(folder) / str(n), part)) for n, part in enumerate(parts)]
        merged = merge_range(opened, bound, None, wanted)
        expected = [row for row in in_order(table) if row["key"] >= bound and row["key"] % 2 == 0]
        assert merged.to_pylist() == expected
        assert all(column.num_chunks == 1 for column in merged.columns)


def test_rows_in_order_are_written_without_sorting_to_the_same_bytes(tmp_path: Path, monkeypatch: Any) -> None:
    table = some_table(500)
    ordered = pa.Table.from_batches([sort_rows(table, "key", ["id"])])
    whole = write(tmp_path / "a", table).read_bytes()
    monkeypatch.setattr("sharding.exchange.sort_rows", None)
    write_sorted(tmp_path / "b", ordered, "key", ["id"], in_order=True)
    assert (tmp_path / "b").read_bytes() == whole
    kept = ordered.filter(pa.array(np.arange(500) % 3 == 0))
    write_sorted(tmp_path / "c", kept, "key", ["id"], in_order=True)
    assert inspect_sorted(tmp_path / "c", SCHEMA) == 167


def test_rows_that_were_only_said_to_be_in_order_are_found_by_inspection(tmp_path: Path) -> None:
    backwards = sort_rows(some_table(500), "key", ["id"]).take(pa.array(range(499, -1, -1)))
    write_sorted(tmp_path / "a", pa.Table.from_batches([backwards]), "key", ["id"], in_order=True)
    with pytest.raises(TableError, match="not sorted"):
        inspect_sorted(tmp_path / "a", SCHEMA)


@pytest.mark.parametrize("bounds", [(-1, None), (5, 4), (0, TOP + 1), (TOP + 1, None)])
def test_bounds_that_are_no_range_are_refused(tmp_path: Path, bounds: tuple[int, int | None]) -> None:
    with SortedFile.open(write(tmp_path / "a", some_table(3))) as found:
        assert found.rows(TOP, TOP).num_rows == 0
        with pytest.raises(ValueError, match="lo_key"):
            found.rows(*bounds)


def test_a_slice_is_the_mapping_itself_and_no_copy(tmp_path: Path) -> None:
    with SortedFile.open(write(tmp_path / "a", some_table(20_000))) as found:
        before = pa.total_allocated_bytes()
        part = found.rows(2**62, 2**63)
        assert 4000 < part.num_rows < 6000
        assert pa.total_allocated_bytes() == before


def mapped(path: Path) -> int:
    return sum(str(path) in line for line in Path("/proc/self/maps").read_text().splitlines())


def test_many_open_files_hold_no_descriptors_and_closing_ends_the_mappings(tmp_path: Path) -> None:
    for number in range(200):
        write(tmp_path / f"{number}.arrow", some_table(20, seed=number), range_bits=2)
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    opened = [SortedFile.open(tmp_path / f"{number}.arrow") for number in range(200)]
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    assert mapped(tmp_path) == 200
    merged = merge_range(opened, 0)
    assert merged.num_rows == 4000
    part = opened[0].rows(0)
    for one in opened:
        one.close()
    assert mapped(tmp_path) == 1  # `part` still looks at the first
    assert part.num_rows == 20
    del part
    assert mapped(tmp_path) == 0
    with pytest.raises(ValueError, match="is closed"):
        opened[0].rows(0)


def resident_kb(path: Path) -> int:
    """Return how much of the mappings of files below a folder this process has in memory."""
    found, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.partition(" ")[0]:
            ours = str(path) in line
        elif ours and line.startswith("Rss:"):
            found += int(line.split()[1])
    return found


def test_what_was_read_of_the_files_leaves_the_process_after_a_merge(tmp_path: Path) -> None:
    opened = [SortedFile.open(write(tmp_path / f"{seed}.arrow", some_table(20_000, seed=seed))) for seed in range(4)]
    rows = pa.concat_tables([one.rows(0) for one in opened]).combine_chunks()
    assert resident_kb(tmp_path) > 1000
    merged = merge_range(opened, 0)
    assert resident_kb(tmp_path) < 100
    assert sorted(rows.column("id").to_pylist()) == sorted(merged.column("id").to_pylist())


def test_files_of_another_order_or_schema_are_not_merged(tmp_path: Path) -> None:
    one = SortedFile.open(write(tmp_path / "a", some_table(3)))
    write_sorted(tmp_path / "b", some_table(3), "key")
    write_sorted(tmp_path / "c", some_table(3).drop_columns(["text"]), "key", ties=["id"])
    for other in "bc":
        with pytest.raises(TableError, match="differ in schema or order"):
            merge_range([one, SortedFile.open(tmp_path / other)], 0)
    with pytest.raises(ValueError, match="at least one file"):
        merge_range([], 0)


# --- inspecting


@pytest.mark.parametrize("num_rows", [0, 1, 5000])
def test_inspection_counts_the_rows(tmp_path: Path, num_rows: int) -> None:
    assert inspect_sorted(write(tmp_path / "a", some_table(num_rows)), SCHEMA) == num_rows


def test_a_file_truncated_anywhere_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a", some_table(3), range_bits=1)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(TableError):
            SortedFile.open(path)
        with pytest.raises(TableError):
            inspect_sorted(path, SCHEMA)


def test_no_flipped_bit_gets_by_that_changes_what_a_reader_sees(tmp_path: Path) -> None:
    """Every byte in turn: refused, or every reader still gets the same rows (padding, unused metadata)."""
    table = some_table(5)
    path = write(tmp_path / "a", table, range_bits=2)
    whole, expected, refused = path.read_bytes(), in_order(table), 0
    ranges = [[row for row in expected if lo <= row["key"] < hi] for lo, hi in (key_range(n, 4) for n in range(4))]
    for offset in range(len(whole)):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ (1 << offset % 8)]) + whole[offset + 1 :])
        try:
            assert inspect_sorted(path, SCHEMA) == 5
        except TableError:
            refused += 1
            continue
        with SortedFile.open(path) as found:
            assert found.rows(0).to_pylist() == expected
            assert [found.rows(*key_range(n, 4)).to_pylist() for n in range(4)] == ranges
    assert refused > len(whole) // 3


def test_rows_out_of_order_are_refused(tmp_path: Path) -> None:
    table, path = some_table(20), tmp_path / "a"
    write(path, table)
    metadata = pa.ipc.open_file(path).schema.metadata
    batch = pa.ipc.open_file(path).get_batch(0)
    swapped = batch.take(pa.array([0, 2, 1, *range(3, 20)]))
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(swapped)
    with pytest.raises(TableError, match="damaged: its rows"):
        inspect_sorted(path, SCHEMA)
    # With the checksum of the wrong order, only the order is left to find.
    message = list(pa.ipc.MessageReader.open_stream(pa.BufferReader(path.read_bytes()[8:])))[1]
    layout = json.loads(metadata[b"sharding.exchange"])
    layout["crc32"] = zlib.crc32(message.body, zlib.crc32(message.metadata))
    schema = batch.schema.with_metadata({b"sharding.exchange": json.dumps(layout)})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(swapped.replace_schema_metadata(schema.metadata))
    with pytest.raises(TableError, match=r"not sorted by \('key', 'id'\)"):
        inspect_sorted(path, SCHEMA)


def test_a_wrong_offset_table_is_refused(tmp_path: Path) -> None:
    table = table_of([{"key": key, "id": 0} for key in (0, 2**62, 2**63)])
    path = write(tmp_path / "a", table, range_bits=2)
    damage(path, b'"offsets":[0,1,2,3,3]', b'"offsets":[0,1,1,3,3]')
    with pytest.raises(TableError, match="offset table"):
        inspect_sorted(path, SCHEMA)
    damage(path, b'"offsets":[0,1,1,3,3]', b'"offsets":[0,3,1,3,3]')
    with pytest.raises(TableError, match="offset table"):
        SortedFile.open(path)


def test_other_arrow_files_and_other_schemas_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a", some_table(3))
    with pytest.raises(TableError, match=r"text: string[\s\S]*text: string"):
        inspect_sorted(path, SCHEMA.remove(0))
    table = some_table(4)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    with pytest.raises(TableError, match="2 record batches"):
        SortedFile.open(path)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(TableError, match="no sorted file"):
        SortedFile.open(path)


def test_a_missing_file_is_not_a_damaged_one(tmp_path: Path) -> None:
    for look in (SortedFile.open, lambda path: inspect_sorted(path, SCHEMA)):
        with pytest.raises(FileNotFoundError):
            look(tmp_path / "a")
