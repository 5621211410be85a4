"""Captions from elsewhere (`balance.source=PATH`): any caption table, WebDataset or folder of them, as numbered rows.

Every row of every file counts, in the order of the files' names, those that are unusable too: rows in = captions out +
counted rejects.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sharding.ids import item_id
from synthclip_hpc.curation.source_files import INTEGERS, TEXTS, Columns, SourceFileError, SourceFiles, find_files
from synthclip_hpc.curation.source_lines import LineFile, open_lines
from synthclip_hpc.curation.source_tables import TableFile, open_table
from synthclip_hpc.curation.source_tars import TarFile, open_tar
from synthclip_hpc.errors import UserError

if TYPE_CHECKING:
    import pyarrow

REASONS = ("wrong_columns", "no_caption", "rejected_upstream", "invalid_utf8", "bad_number", "empty")
"""Why a row gives no caption; the first that holds is the one that counts."""


def schema() -> Any:
    """Return the columns of captions from elsewhere; all but `caption_id` and `caption` are null where not known."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("caption_id", pa.uint64(), nullable=False),
            ("concept_id", pa.uint64()),
            ("concept", pa.string()),
            ("n", pa.int32()),
            pa.field("caption", pa.string(), nullable=False),
            ("source", pa.string()),
        ]
    )


def find_source(path: str | Path, argument: str = "balance.source") -> CaptionSource:
    """Look for the files of a source; they are opened when `num_rows` or `read` is asked for.

    Raises UserError, as all of a source's do with the name of the `argument` that gave it, when there are none, or
    files of several forms.
    """
    return CaptionSource(str(path), find_files(path, argument), argument)


@dataclass(frozen=True)
class CaptionSource:
    """Captions in files, as rows from 0 to num_rows."""

    path: str
    files: SourceFiles
    argument: str = "balance.source"
    """What named the path, for errors."""

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of what tells the content: of milliseconds a file, whatever its size; see SourceFiles.fingerprint."""
        with self._naming():
            return self.files.fingerprint()

    @cached_property
    def _opened(self) -> list[LineFile | TableFile | TarFile]:
        with self._naming():
            if self.files.form == "Parquet":
                return [open_table(file) for file in self.files.files]
            if self.files.form == "WebDataset":
                return [open_tar(file) for file in self.files.files]
            return [open_lines(file, self.files.form) for file in self.files.files]

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Put the argument's name before what is said of a file."""
        try:
            yield
        except SourceFileError as error:
            raise UserError(f"{self.argument}: {error}") from error

    @cached_property
    def _starts(self) -> list[int]:
        return list(accumulate((file.num_rows for file in self._opened), initial=0))

    @cached_property
    def num_rows(self) -> int:
        """Rows of all files: footers are read of Parquet, everything of lines (about 1 GB/s, packed less), but once.

        Raises UserError for a file that cannot be read or has no captions, and when there is no row at all.
        """
        if not self._starts[-1]:
            raise UserError(f"{self.argument}={self.path}: no captions, its {len(self._opened)} files have no rows")
        return self._starts[-1]

    def read(self, start: int, stop: int) -> tuple[pyarrow.Table, Counter[str]]:
        """Return the captions among the rows [start, stop), with the columns of `schema`, and the rejects by reason.

        A row without caption_id gets item_id("caption", text). Texts stay as they are, outer white space included.
        Packed lines are unpacked forwards: ranges in order cost one pass, one that lies behind the last begins anew.
        Raises ValueError for rows that are not there, UserError when a file is damaged or has changed.
        """
        import pyarrow as pa

        if not 0 <= start <= stop <= self.num_rows:
            raise ValueError(f"wanted 0 <= start <= stop <= {self.num_rows}, got {start} and {stop}")
        tables, rejects = [schema().empty_table()], Counter[str]()
        file = bisect_right(self._starts, start) - 1
        while start < stop:
            end = min(stop, self._starts[file + 1])
            if start < end:
                base = self._starts[file]
                with self._naming():
                    table, found = _usable(self._opened[file].read(start - base, end - base))
                tables.append(table)
                rejects.update(found)
                start = end
            file += 1
        return pa.concat_tables(tables).combine_chunks(), rejects


def refuse_unusable(source: CaptionSource, rejects: Counter[str]) -> None:
    """Raise UserError when all rows of a source were rejected: it is something else than it seems to be."""
    if rejects.total() == source.num_rows:
        told = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in sorted(rejects.items()))
        raise UserError(
            f"{source.argument}={source.path}: none of its {source.num_rows:,} rows is a caption ({told}); it must be "
            "UTF-8, with a caption a line, in a column `caption` or, in a TSV without header, in the last column; in "
            "tars of a WebDataset a .txt, or a text `caption` in a .json"
        )


def _usable(rows: Columns) -> tuple[pyarrow.Table, dict[str, int]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    nothing = pa.nulls(len(rows.misfit), pa.large_binary())
    arrays, bad = {}, {rows.misfit_reason: rows.misfit}
    for name, reason, convert in (
        *((name, "invalid_utf8", _to_text) for name in ("caption", *TEXTS)),
        *((name, "bad_number", _to_number) for name in INTEGERS),
    ):
        kind = schema().field(name).type if name in schema().names else pa.string()
        arrays[name], wrong = _convert(rows.arrays.get(name, nothing), kind, convert)
        bad[reason] = bad[reason] | wrong if reason in bad else wrong
    blank = pc.equal(pc.binary_length(pc.utf8_trim_whitespace(arrays["caption"])), 0)
    bad["empty"] = _mask(pc.fill_null(blank, True))
    bad["rejected_upstream"] = _mask(pc.fill_null(pc.greater(pc.binary_length(arrays["reject_reason"]), 0), False))
    rejects, kept = {}, np.ones(len(rows.misfit), dtype=bool)
    for reason in (reason for reason in REASONS if reason in bad):
        if count := int((kept & bad[reason]).sum()):
            rejects[reason] = count
        kept &= ~bad[reason]
    table = pa.table([arrays[name] for name in schema().names], names=schema().names).filter(pa.array(kept))
    ids = table.column("caption_id").combine_chunks()
    if ids.null_count:
        captions = table.column("caption").filter(ids.is_null()).to_pylist()
        made = np.fromiter((item_id("caption", text) for text in captions), dtype=np.uint64, count=len(captions))
        ids = pc.replace_with_mask(ids, ids.is_null(), pa.array(made))
    return table.set_column(0, schema().field("caption_id"), ids).cast(schema()), rejects


def _convert(
    values: pyarrow.Array, kind: pyarrow.DataType, convert: Callable[[Any, pyarrow.DataType], Any]
) -> tuple[pyarrow.Array, Any]:
    """Return the values as another type, and a mask of those that have none in it."""
    import pyarrow as pa

    try:
        if pa.types.is_large_binary(values.type) and not pa.types.is_string(kind):
            values = values.cast(pa.large_string())
        return values.cast(kind), np.zeros(len(values), dtype=bool)
    except pa.ArrowInvalid:
        # Some value does not fit, and pyarrow does not say which: one after the other, where this happens.
        found = [convert(value, kind) for value in values.to_pylist()]
    wrong = np.array([one is _WRONG for one in found], dtype=bool)
    return pa.array([None if one is _WRONG else one for one in found], kind), wrong


_WRONG = object()


def _to_text(value: bytes | None, kind: pyarrow.DataType) -> Any:
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        return _WRONG


def _to_number(value: bytes | str | int | None, kind: pyarrow.DataType) -> Any:
    import pyarrow as pa

    try:
        return None if value is None or value in ("", b"") else pa.scalar(int(value), kind).as_py()
    except (ValueError, OverflowError, pa.ArrowException):
        return _WRONG


def _mask(values: pyarrow.Array) -> Any:
    return values.to_numpy(zero_copy_only=False)
