from __future__ import annotations

import gzip
import os
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharding.ids import item_id
from synthclip_hpc.curation import source_forward, source_lines
from synthclip_hpc.curation.source_files import open_unpacked
from synthclip_hpc.curation.sources import CaptionSource, find_source, refuse_unusable, schema
from synthclip_hpc.errors import UserError
from tests.data import data_folder

CAPTIONS = ["A red fox.", "a cat; a dog", "שלום 🦊", ' "quoted" ', "a\u2028b", "x" * 300]


def packed(data: bytes, packing: str) -> bytes:
    if packing == ".gz":
        return gzip.compress(data)
    if packing == ".zst":
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as stream:
            stream.write(data)
        return sink.getvalue().to_pybytes()
    return data


def put(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def put_table(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)
    return path


def read_all(path: Path) -> tuple[pa.Table, Counter[str]]:
    source = find_source(path)
    return source.read(0, source.num_rows)


def captions_of(path: Path) -> list[str]:
    table, rejects = read_all(path)
    assert not rejects
    found: list[str] = table.column("caption").to_pylist()
    return found


FORMS = {
    "a.txt": "".join(f"{caption}\n" for caption in CAPTIONS),
    "bare.tsv": "".join(f"{n}\t{caption}\n" for n, caption in enumerate(CAPTIONS)),
    "one.tsv": "".join(f"{caption}\n" for caption in CAPTIONS),
    "header.tsv": "url\tcaption\tmore\n" + "".join(f"http\t{caption}\t\n" for caption in CAPTIONS),
}


# --- forms


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_captions(tmp_path: Path, name: str, packing: str) -> None:
    table, rejects = read_all(put(tmp_path / (name + packing), packed(FORMS[name].encode(), packing)))
    assert table.schema == schema()
    assert table.column("caption").to_pylist() == CAPTIONS
    assert table.column("caption_id").to_pylist() == [item_id("caption", caption) for caption in CAPTIONS]
    assert not rejects
    for unknown in ("concept_id", "concept", "n", "source"):
        assert table.column(unknown).null_count == len(CAPTIONS)


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_a_parquet_column_of_any_text_type_is_read(tmp_path: Path, kind: pa.DataType) -> None:
    column = pa.array(CAPTIONS).dictionary_encode() if pa.types.is_dictionary(kind) else pa.array(CAPTIONS, kind)
    assert captions_of(put_table(tmp_path / "a.parquet", {"id": range(6), "caption": column})) == CAPTIONS
    assert captions_of(put_table(tmp_path / "b.parquet", {"id": range(6), "my.text": column})) == CAPTIONS


def test_line_ends_of_windows_and_a_byte_order_mark_are_no_part_of_a_caption(tmp_path: Path) -> None:
    for text in ("a\nb", "a\nb\n", "a\r\nb\r\n", "\ufeffa\nb\n", "\ufeffa\r\nb\r"):
        assert captions_of(put(tmp_path / "a.txt", text)) == ["a", "b"]
        assert captions_of(put(tmp_path / "a.tsv", text)) == ["a", "b"]
        assert captions_of(put(tmp_path / "b.tsv", f"\ufeffid\tcaption\r\n{text}".replace("\ufeffa", "a").replace(
            "a", "1\ta").replace("b", "2\tb").replace("c1\ta", "ca"))) == ["a", "b"]  # fmt: skip


def test_a_carriage_return_inside_a_line_does_not_end_it(tmp_path: Path) -> None:
    assert captions_of(put(tmp_path / "a.txt", "a\rb\nc\n")) == ["a\rb", "c"]


def test_four_columns_without_a_header_are_source_image_index_and_caption(tmp_path: Path) -> None:
    table, _ = read_all(put(tmp_path / "a.tsv", "coco\timage.jpg\t0\ta dog\nonly\ta cat\n"))
    assert table.column("caption").to_pylist() == ["a dog", "a cat"]
    assert table.column("source").to_pylist() == ["coco", None]


def test_captions_real_is_read_whole(real_data: Path) -> None:
    table, rejects = read_all(real_data / "captions-real")
    assert (table.num_rows, rejects) == (176_015, Counter())
    counts = Counter(table.column("source").to_pylist())
    assert counts == {"flickr30k": 114_868, "flickr8k": 30_577, "coco": 19_903, "cc3m": 10_667}
    assert sum(map(len, table.column("caption").to_pylist())) == 10_585_119


@pytest.fixture
def real_data() -> Path:
    folder = data_folder()
    if not (folder / "captions-real").is_dir():
        pytest.skip(f"no captions-real in {folder}; SYNTHCLIP_TEST_DATA names the folder of test data")
    return folder


# --- what travels along, and what is rejected

UPSTREAM: dict[str, Any] = {
    "caption_id": pa.array([7, 2**64 - 1, None, 9], pa.uint64()),
    "concept_id": pa.array([1, 2, 3, 4], pa.uint64()),
    "concept": ["fox", "cat", None, "dog"],
    "n": pa.array([0, 1, 2, 3], pa.int32()),
    "caption": ["a fox", "a cat", "a bird", None],
    "prompt": ["p"] * 4,
    "reject_reason": [None, "", None, "too_long"],
    "source": ["x", None, "y", "z"],
}


def test_columns_of_a_captions_table_travel_along_and_its_rejects_are_counted(tmp_path: Path) -> None:
    table, rejects = read_all(put_table(tmp_path / "a.parquet", UPSTREAM))
    assert rejects == {"rejected_upstream": 1}
    assert table.to_pylist() == [
        {"caption_id": 7, "concept_id": 1, "concept": "fox", "n": 0, "caption": "a fox", "source": "x"},
        {"caption_id": 2**64 - 1, "concept_id": 2, "concept": "cat", "n": 1, "caption": "a cat", "source": None},
        {"caption_id": item_id("caption", "a bird"), "concept_id": 3, "concept": None, "n": 2, "caption": "a bird",
         "source": "y"},
    ]  # fmt: skip


def test_a_tsv_with_a_header_carries_the_same_columns(tmp_path: Path) -> None:
    rows = [
        "caption_id\tn\tcaption\tsource\treject_reason",
        "7\t0\ta fox\tx\t",
        "\t\ta bird\t\t",
        "9\t1\tno\tz\ttoo long",
    ]
    table, rejects = read_all(put(tmp_path / "a.tsv", "\n".join(rows)))
    assert rejects == {"rejected_upstream": 1}
    assert table.column("caption_id").to_pylist() == [7, item_id("caption", "a bird")]
    assert table.column("n").to_pylist() == [0, None]


def test_signed_ids_of_other_tools_are_taken_and_impossible_numbers_are_rejects(tmp_path: Path) -> None:
    ids = pa.array([1, -1, 3], pa.int64())
    table, rejects = read_all(put_table(tmp_path / "a.parquet", {"caption": ["a", "b", "c"], "caption_id": ids}))
    assert (table.column("caption_id").to_pylist(), rejects) == ([1, 3], {"bad_number": 1})
    lines = "caption\tcaption_id\na\t1\nb\t-1\nc\tx\nd\t18446744073709551616\ne\t18446744073709551615\n"
    table, rejects = read_all(put(tmp_path / "a.tsv", lines))
    assert (table.column("caption_id").to_pylist(), rejects) == ([1, 2**64 - 1], {"bad_number": 3})


def test_every_bad_line_is_counted_for_its_reason_and_the_others_are_kept(tmp_path: Path) -> None:
    data = b"id\tcaption\n1\ta\n2\t\n3\t \xc2\xa0\n4\tb\xe9b\xe9\nno tab\n6\tb\ttoo many\n\n8\tz\xc3\xa4h\n"
    table, rejects = read_all(put(tmp_path / "a.tsv", data))
    assert table.column("caption").to_pylist() == ["a", "zäh"]
    assert rejects == {"empty": 2, "invalid_utf8": 1, "wrong_columns": 3}
    table, rejects = read_all(put(tmp_path / "a.txt", b"a\n\n \n\xff\nb\n"))
    assert (table.column("caption").to_pylist(), rejects) == (["a", "b"], {"empty": 2, "invalid_utf8": 1})


def test_bytes_in_parquet_that_are_no_utf8_are_rejects_too(tmp_path: Path) -> None:
    column = pa.array([b"a", b"\xe9", b"c"]).view(pa.string())
    table, rejects = read_all(put_table(tmp_path / "a.parquet", {"caption": column}))
    assert (table.column("caption").to_pylist(), rejects) == (["a", "c"], {"invalid_utf8": 1})


def test_a_source_without_any_usable_row_is_refused_with_the_reasons(tmp_path: Path) -> None:
    path = put(tmp_path / "a.txt", b"\xff\n\xfe\n\n")
    table, rejects = read_all(path)
    assert table.num_rows == 0
    with pytest.raises(UserError, match=r"a\.txt: none of its 3 rows is a caption \(1 empty, 2 invalid utf8\)"):
        refuse_unusable(find_source(path), rejects)
    refuse_unusable(find_source(put(path, b"\xff\n\xfe\n\na\n")), rejects)


# --- ranges


def mixed(count: int, seed: int = 0) -> bytes:
    random = np.random.default_rng(seed)
    lines = [b"" if kind == 0 else b"\xff" if kind == 1 else f"{n} 🦊 {'x' * int(kind)}".encode()
             for n, kind in enumerate(random.integers(0, 12, count))]  # fmt: skip
    return b"\n".join(lines) + (b"\n" if seed % 2 else b"")


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_lines, "MARK_ROWS", 4)
    monkeypatch.setattr(source_lines, "_BLOCK_BYTES", 13)


lines = st.lists(st.text(st.characters(exclude_characters="\n\r\ufeff", codec="utf-8"), max_size=5), max_size=14)


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(lines, min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 60), max_size=5),
    packing=st.sampled_from(["", ".gz", ".zst"]),
    ended=st.booleans(),
    sizes=st.tuples(st.integers(1, 5), st.integers(4, 9)),
)
def test_any_ranges_together_are_all_rows_once_in_order(
    tmp_path_factory: pytest.TempPathFactory, texts: list[list[str]], cuts: list[int], packing: str, ended: bool,
    sizes: tuple[int, int],
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("source")
    expected = [line for rows in texts for line in rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source_lines, "MARK_ROWS", sizes[0])
        patch.setattr(source_lines, "_BLOCK_BYTES", sizes[1])
        for number, rows in enumerate(texts):
            data = "".join(f"{line}\n" for line in rows)
            # An empty last line is a line only with its end.
            data = data if ended or (rows and not rows[-1]) else data.removesuffix("\n")
            put(folder / f"{number}.txt{packing}", packed(data.encode(), packing))
        source = find_source(folder)
        if not expected:
            with pytest.raises(UserError, match="no captions"):
                _ = source.num_rows
            return
        assert source.num_rows == len(expected)
        bounds = [0, *sorted(min(cut, len(expected)) for cut in cuts), len(expected)]
        parts = [source.read(start, stop) for start, stop in pairwise(bounds)]
        usable = [line for line in expected if line.strip()]
        assert [caption for table, _ in parts for caption in table.column("caption").to_pylist()] == usable
        assert sum(rejects.total() for _, rejects in parts) == len(expected) - len(usable)


def ranges_of(source: CaptionSource, step: int) -> list[tuple[pa.Table, Counter[str]]]:
    return [source.read(start, min(start + step, source.num_rows)) for start in range(0, source.num_rows, step)]


@pytest.mark.parametrize("step", [1, 7, 100, 1000])
def test_ranges_of_parquet_are_its_rows_whatever_its_row_groups(tmp_path: Path, step: int) -> None:
    for number, groups in enumerate((1, 10, 64, 1000)):
        captions = [f"{number} {n}" for n in range(90)]
        put_table(tmp_path / f"{number}.parquet", {"caption": captions}, row_group_size=groups)
    put_table(tmp_path / "2-empty.parquet", {"caption": pa.array([], pa.string())})
    source = find_source(tmp_path)
    found = [text for table, _ in ranges_of(source, step) for text in table.column("caption").to_pylist()]
    assert found == [f"{number} {n}" for number in range(4) for n in range(90)]


def test_how_rows_are_spread_over_files_changes_nothing_that_is_read(tmp_path: Path, small_steps: None) -> None:
    lines = mixed(200).split(b"\n")
    one = find_source(put(tmp_path / "one.txt", b"\n".join(lines)))
    for number in range(10):
        put(tmp_path / "many" / f"{number}.txt", b"\n".join(lines[number * 20 : number * 20 + 20]) + b"\n")
    many = find_source(tmp_path / "many")
    assert (one.num_rows, many.num_rows) == (200, 200)
    for left, right in zip(ranges_of(one, 30), ranges_of(many, 30), strict=True):
        assert left[0].equals(right[0])
        assert left[1] == right[1]


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_ranges_in_order_unpack_a_packed_file_once(
    tmp_path: Path, small_steps: None, monkeypatch: pytest.MonkeyPatch, packing: str
) -> None:
    path = put(tmp_path / f"a.txt{packing}", packed("".join(f"{n}\n" for n in range(50)).encode(), packing))
    opened: list[Path] = []

    def counted(file: Path) -> Any:
        opened.append(file)
        return open_unpacked(file)

    monkeypatch.setattr(source_forward, "open_unpacked", counted)
    source = find_source(path)
    parts = [source.read(start, start + 7) for start in range(0, 49, 7)]
    assert [text for table, _ in parts for text in table.column("caption").to_pylist()] == list(map(str, range(49)))
    assert len(opened) == 1
    assert source.read(3, 5)[0].column("caption").to_pylist() == ["3", "4"]
    assert len(opened) == 2
    assert source.read(44, 50)[0].column("caption").to_pylist() == list(map(str, range(44, 50)))
    assert source.read(49, 50)[0].column("caption").to_pylist() == ["49"]
    assert len(opened) == 3


def test_rows_are_counted_once_for_all_who_read_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans: list[Path] = []

    def counted(file: Path) -> Any:
        scans.append(file)
        return open_unpacked(file)

    monkeypatch.setattr(source_lines, "open_unpacked", counted)
    path = put(tmp_path / "a.tsv", "id\tcaption\n1\ta\n2\tb\n")
    for _ in range(3):
        assert find_source(path).read(1, 2)[0].column("caption").to_pylist() == ["b"]
    assert len(scans) == 1
    put(path, "id\tcaption\n1\ta\n2\tb\n3\tc\n")
    assert find_source(path).num_rows == 3
    assert len(scans) == 2


def test_another_file_of_the_same_size_and_time_is_counted_anew(tmp_path: Path) -> None:
    rows = []
    for text in ("a cat\na dog\n", "a cat a dog\n"):
        path = put(tmp_path / "a.txt", text)
        os.utime(path, ns=(0, 0))
        rows.append(find_source(path).num_rows)
    assert rows == [2, 1]


def test_a_file_whose_name_is_no_text_and_a_user_without_a_home_are_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    put(tmp_path / os.fsdecode(b"c\xff.txt"), "a cat\na dog\n")
    assert find_source(tmp_path).num_rows == 2
    monkeypatch.setattr("synthclip_hpc.remembered.remembering_folder", no_home)
    assert find_source(tmp_path).read(1, 2)[0].column("caption").to_pylist() == ["a dog"]


def test_rows_that_are_not_there_are_refused(tmp_path: Path) -> None:
    source = find_source(put(tmp_path / "a.txt", "a\nb\n"))
    assert source.read(2, 2)[0].num_rows == 0
    for bounds in ((-1, 1), (1, 3), (2, 1)):
        with pytest.raises(ValueError, match="wanted 0 <= start"):
            source.read(*bounds)


# --- folders and identity


def test_a_folder_is_read_in_the_order_of_names_and_others_are_told(tmp_path: Path) -> None:
    for name in ("b.txt", "a/2.txt", "a/10.txt.gz", ".hidden.txt", "_temporary/x.txt"):
        put(tmp_path / name, packed(f"{name}\n".encode(), ".gz" if name.endswith("gz") else ""))
    put(tmp_path / "README.md", "no caption")
    assert captions_of(tmp_path) == ["a/10.txt.gz", "a/2.txt", "b.txt"]
    assert find_source(tmp_path).files.others == ["README.md"]


def test_the_fingerprint_tells_content_and_order_and_not_where_files_lie(tmp_path: Path) -> None:
    put(tmp_path / "a" / "1.txt", "x\n" * 100)
    put(tmp_path / "a" / "2.txt", "y\n" * 100)
    put(tmp_path / "b" / "p.txt", "x\n" * 100)
    put(tmp_path / "b" / "q.txt", "y\n" * 100)
    before = find_source(tmp_path / "a").fingerprint
    assert before == find_source(tmp_path / "b").fingerprint
    put(tmp_path / "b" / "q.txt", "y\n" * 99 + "z\n")
    assert find_source(tmp_path / "b").fingerprint != before
    put(tmp_path / "c" / "1.txt", "y\n" * 100)
    put(tmp_path / "c" / "2.txt", "x\n" * 100)
    assert find_source(tmp_path / "c").fingerprint != before
    assert (
        find_source(put(tmp_path / "d.tsv", "x\n")).fingerprint
        != find_source(put(tmp_path / "d.txt", "x\n")).fingerprint
    )


# --- mistakes


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.csv", b"caption\na\n", "a file of this kind is not read. Valid: a .parquet"),
        ("a", b"a\n", "a file of this kind is not read"),
        ("a.parquet.gz", b"a\n", "a file of this kind is not read"),
        ("a.txt", b"", "no captions, its 1 files have no rows"),
        ("a.tsv", b"id\tcaption\n", "no captions"),
        ("a.tsv", b"caption\tcaption\na\tb\n", "names a column twice"),
        ("a.txt", "a\nb\n".encode("utf-16"), "is UTF-16"),
        ("a.parquet", b"PAR1 not really", "cannot be read"),
        ("a.parquet", b"", "cannot be read"),
        ("a.txt.gz", b"no gzip", "cannot be read"),
        ("a.txt.gz", gzip.compress(random.Random(0).randbytes(3000), mtime=0)[:-9], "cannot be read"),
        ("a.txt.zst", b"no zstandard", "cannot be read"),
        ("a.txt.zst", packed(random.Random(0).randbytes(3000), ".zst")[:-9], "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_name(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    path = put(tmp_path / name, data)
    with pytest.raises(UserError) as caught:
        _ = find_source(path).num_rows
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert str(caught.value).startswith("balance.source")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"id": [1], "score": [0.5]}, "its columns: id (int64), score (double)"),
        ({"title": ["a"], "text": ["b"]}, "its columns: title (string), text (string)"),
        ({"caption": [1], "text": ["b"]}, "its columns: caption (int64), text (string)"),
        ({"concept": ["a"], "reject_reason": ["b"]}, "wanted a text column 'caption'"),
        ({"caption": ["a"], "caption_id": ["x"]}, "'caption_id' must hold whole numbers, got string"),
        ({"caption": ["a"], "source": [1]}, "'source' must hold texts, got int64"),
    ],
)
def test_a_table_without_captions_is_refused_with_the_columns_it_has(
    tmp_path: Path, columns: dict[str, Any], words: str
) -> None:
    path = put_table(tmp_path / "a.parquet", columns)
    with pytest.raises(UserError) as caught:
        _ = find_source(path).num_rows
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_folders_that_say_nothing_clear_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file or folder"):
        find_source(tmp_path / "none")
    with pytest.raises(UserError, match=r"no captions in this folder \(it is empty\)"):
        find_source(tmp_path)
    put(tmp_path / "a.csv", "a")
    with pytest.raises(UserError, match=r"no captions in this folder \(it holds a.csv\)"):
        find_source(tmp_path)
    put(tmp_path / "a.txt", "a")
    put(tmp_path / "b.tsv", "a")
    with pytest.raises(UserError, match=r"several forms, 1 TSV \(b.tsv\) and 1 text \(a.txt\)"):
        find_source(tmp_path)


@pytest.mark.parametrize("change", ["a\nb\n", "a\nb\nc\nd\n", "a\nbcd\n", ""])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, change: str) -> None:
    path = put(tmp_path / "a.txt", "a\nb\nc\n")
    source = find_source(path)
    assert source.num_rows == 3
    put(path, change if change else "")
    if change == "a\nb\nc\nd\n":
        assert source.read(0, 3)[0].num_rows == 3  # what is appended later is not of this source
        return
    with pytest.raises(UserError, match="has changed while it was being read"):
        source.read(0, 3)


def test_a_table_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    source = find_source(put_table(tmp_path / "a.parquet", {"caption": ["a", "b", "c"]}))
    assert source.num_rows == 3
    put_table(tmp_path / "a.parquet", {"caption": ["a", "b"]})
    with pytest.raises(UserError, match="has changed"):
        source.read(0, 3)
    put_table(tmp_path / "a.parquet", {"other": ["a", "b", "c"]})
    with pytest.raises(UserError, match=r"a\.parquet"):
        source.read(0, 3)
