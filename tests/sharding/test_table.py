from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sharding.marker import Counts
from sharding.table import TableError, inspect_table, write_table

SCHEMA = pa.schema([pa.field("id", pa.uint64(), nullable=False), ("text", pa.string()), ("reject_reason", pa.string())])


def columns(num_rows: int = 100) -> dict[str, list[Any]]:
    return {
        "id": [2**64 - 1 - row for row in range(num_rows)],
        "text": [f"a photo of item {row}, 🦊" for row in range(num_rows)],
        "reject_reason": [None if row % 10 else "too long" for row in range(num_rows)],
    }


def test_equal_rows_give_equal_bytes_in_whatever_order_the_columns_come(tmp_path: Path) -> None:
    write_table(tmp_path / "a", columns(), SCHEMA)
    write_table(tmp_path / "b", dict(reversed(columns().items())), SCHEMA)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_table_is_plain_parquet_with_one_row_group(tmp_path: Path) -> None:
    write_table(tmp_path / "a", columns(), SCHEMA)
    assert pq.read_table(tmp_path / "a").to_pydict() == columns()
    metadata = pq.ParquetFile(tmp_path / "a").metadata
    assert metadata.num_row_groups == 1
    assert metadata.row_group(0).column(1).compression == "ZSTD"


@pytest.mark.parametrize(("num_rows", "rejected"), [(0, {}), (1, {"too long": 1}), (100, {"too long": 10})])
def test_inspection_counts_rows_and_reasons(tmp_path: Path, num_rows: int, rejected: dict[str, int]) -> None:
    write_table(tmp_path / "a", columns(num_rows), SCHEMA)
    num_rejected = sum(rejected.values())
    assert inspect_table(tmp_path / "a", SCHEMA) == Counts(num_rows, num_rows - num_rejected, num_rejected, rejected)


def test_without_a_reject_column_every_row_is_done(tmp_path: Path) -> None:
    write_table(tmp_path / "a", columns(10), SCHEMA)
    assert inspect_table(tmp_path / "a", SCHEMA, reject_column=None) == Counts(10, 10, 0, {})
    with pytest.raises(TableError, match="reject_column"):
        inspect_table(tmp_path / "a", SCHEMA, reject_column="reason")


def test_a_table_truncated_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_table(path, columns(5), SCHEMA)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(TableError):
            inspect_table(path, SCHEMA)


def test_a_flipped_bit_in_the_data_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_table(path, columns(), SCHEMA)
    whole = path.read_bytes()
    column = pq.ParquetFile(path).metadata.row_group(0).column(1)
    for offset in (column.data_page_offset + column.total_compressed_size // 2, column.dictionary_page_offset + 200):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :])
        with pytest.raises(TableError, match="damaged"):
            inspect_table(path, SCHEMA)


def test_a_table_of_another_schema_is_refused_with_both(tmp_path: Path) -> None:
    write_table(tmp_path / "a", columns(), SCHEMA)
    with pytest.raises(TableError, match=r"text: string[\s\S]*text: string"):
        inspect_table(tmp_path / "a", SCHEMA.remove(0))


def test_a_missing_table_is_not_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        inspect_table(tmp_path / "a", SCHEMA)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"more": [1] * 5}, "columns must be"),
        ({"text": ["a"]}, "equal lengths"),
        ({"id": [-1] * 5}, "do not fit"),
        ({"id": ["a"] * 5}, "do not fit"),
        ({"id": [None] * 5}, "nulls"),
    ],
)
def test_columns_that_do_not_fit_are_refused_and_nothing_is_written(
    tmp_path: Path, changes: dict[str, list[Any]], message: str
) -> None:
    with pytest.raises(TableError, match=message):
        write_table(tmp_path / "a", {**columns(5), **changes}, SCHEMA)
    assert list(tmp_path.iterdir()) == []


def test_writing_again_never_changes_a_file_that_was_linked_as_the_output(tmp_path: Path) -> None:
    write_table(tmp_path / "staged", columns(5), SCHEMA)
    (tmp_path / "output").hardlink_to(tmp_path / "staged")
    before = (tmp_path / "output").read_bytes()
    write_table(tmp_path / "staged", columns(6), SCHEMA)
    assert (tmp_path / "output").read_bytes() == before
