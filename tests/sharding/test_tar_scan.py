import io
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharding import ustar
from sharding.tar_scan import Member, TarError, key_of, mapped, samples, scan
from tests.sharding.tars import Item, all_bytes

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
CONTENTS = [("a.jpg", b"x" * 700), ("a.txt", b""), ("ä/b.jpg", b"y" * 512), ("b.txt", b"z")]


def contents_of(data: bytes) -> list[tuple[str, bytes]]:
    return [(member.name, data[member.offset : member.offset + member.size]) for member in scan(data, "x.tar")]


def python_tar(form: int, contents: list[tuple[str, bytes]], **fields: Any) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for name, content in contents:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for key, value in fields.items():
                setattr(member, key, value)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def failed(data: bytes) -> TarError:
    with pytest.raises(TarError) as raised:
        list(scan(data, "x.tar"))
    assert str(raised.value) == f"x.tar, byte {raised.value.offset}: {raised.value.reason}"
    return raised.value


def with_header(data: bytes, at: int, value: bytes) -> bytes:
    """The tar with a field of its first header changed, and the checksum made good."""
    header = bytearray(data[:512])
    header[at : at + len(value)] = value
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data[512:]


@given(contents=st.lists(st.tuples(st.text("ab./", min_size=1, max_size=9), st.binary(max_size=1100)), max_size=5))
def test_what_was_written_is_found_where_tarfile_finds_it(contents: list[tuple[str, bytes]]) -> None:
    contents = [(name, content) for name, content in contents if ustar.name_fault(name) is None]
    data = ustar.members(contents) + ustar.END
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        wanted = [(member.offset_data, member.size) for member in tar]
    assert contents_of(data) == contents
    assert [(member.offset, member.size) for member in scan(data, "x.tar")] == wanted


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("fields", [{}, {"mtime": 1_700_000_000.25, "uname": "bigdata", "gname": "ü", "mode": 0o444}])
def test_tars_of_python_are_read(form: int, fields: dict[str, Any]) -> None:
    assert contents_of(python_tar(form, CONTENTS, **fields)) == CONTENTS


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("folder", ["f" * 60 + "/", "ü" * 40 + "/"])
def test_long_names_of_each_format_are_read(form: int, folder: str) -> None:
    contents = [(folder + "n" * 90 + f"{number}.jpg", b"x" * number) for number in range(3)] + CONTENTS
    assert contents_of(python_tar(form, contents)) == contents


@pytest.mark.parametrize("form", FORMATS[1:])
def test_names_longer_than_any_prefix_are_read(form: int) -> None:
    contents = [("d/" * 200 + "a.jpg", b"one"), ("b.jpg", b"two")]
    assert contents_of(python_tar(form, contents)) == contents


@pytest.mark.parametrize("form", ["ustar", "gnu", "oldgnu", "pax", "posix"])
def test_tars_of_gnu_tar_are_read_and_folders_left_out(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "in" / "sub"
    folder.mkdir(parents=True)
    wanted = {"./sub/" + name: content for name, content in [("a.jpg", b"x" * 600), ("ä" * 30 + ".txt", b"caption")]}
    if form not in ("ustar", "v7"):
        wanted["./sub/" + "n" * 150] = b"long"
    for name, content in wanted.items():
        (folder / Path(name).name).write_bytes(content)
    subprocess.run(["tar", f"--format={form}", "-cf", tmp_path / "x.tar", "-C", tmp_path / "in", "."], check=True)
    assert dict(contents_of((tmp_path / "x.tar").read_bytes())) == wanted


def test_tars_of_webdataset_are_read_and_grouped_as_it_does(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    wanted = [(f"k/{number:03d}", b"x" * number * 300, f"c {number}") for number in range(5)]
    with webdataset.TarWriter(str(tmp_path / "x.tar")) as writer:
        for key, picture, text in wanted:
            writer.write({"__key__": key, "JPG": picture, "seg.png": b"s", "txt": text})
    with mapped(tmp_path / "x.tar") as data:
        found = list(samples(scan(data, "x.tar"), "x.tar"))
        read = [
            (one.key, {name: data[m.offset : m.offset + m.size] for name, m in one.members.items()}) for one in found
        ]
    assert read == [(key, {"jpg": picture, "seg.png": b"s", "txt": text.encode()}) for key, picture, text in wanted]
    by_webdataset = list(webdataset.WebDataset(str(tmp_path / "x.tar"), shardshuffle=False))
    assert [
        (one["__key__"], {name: one[name] for name in members})
        for one, (_, members) in zip(by_webdataset, read, strict=True)
    ] == read


def test_the_pax_header_for_all_members_that_git_archives_is_read_over(tmp_path: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "0de5f2e"}) as tar:
        tar.addfile(tarfile.TarInfo("a.txt"))
    assert contents_of(file.getvalue()) == [("a.txt", b"")]


def test_gnu_sizes_in_base_256_are_read() -> None:
    data = with_header(ustar.members([("a", b"x" * 700)]), 124, b"\x80" + (700).to_bytes(11, "big")) + ustar.END
    assert list(scan(data, "x.tar")) == [Member("a", 512, 700)]


def test_an_empty_archive_holds_nothing_and_an_empty_file_is_none(tmp_path: Path) -> None:
    assert contents_of(ustar.END) == []
    assert contents_of(bytes(10240)) == []
    (tmp_path / "empty.tar").touch()
    with mapped(tmp_path / "empty.tar") as data:
        assert (failed(bytes(data)).offset, len(data)) == (0, 0)


def test_a_file_cut_at_any_byte_gives_its_whole_members_and_says_so() -> None:
    data = ustar.members(CONTENTS) + ustar.END
    members = list(scan(data, "x.tar"))
    for cut in range(len(data)):
        found: list[Member] = []
        with pytest.raises(TarError, match="cut off"):
            for member in scan(data[:cut], "x.tar"):
                found.append(member)
        assert found == [member for member in members if member.offset + member.size <= cut]


def test_any_flipped_byte_of_a_header_that_tar_reads_is_found() -> None:
    data = ustar.members([("a/b.jpg", b"x" * 700)]) + ustar.END
    unseen = []
    for position in range(512):
        for flip in (1, 0x20, 0xFF):
            damaged = bytearray(data)
            damaged[position] ^= flip
            try:
                list(scan(bytes(damaged), "x.tar"))
            except TarError as error:
                assert error.offset == 0
            else:
                unseen.append(position)
    # What ends the checksum's own digits may be a NUL or a space in any writer's tar.
    assert set(unseen) <= {154, 155}


@pytest.mark.parametrize(
    ("data", "offset", "reason"),
    [
        (b"", 0, "without an end"),
        (b"not a tar" * 100, 0, "no tar header: its magic is"),
        (ustar.members([("a", b"x")]), 1024, "without an end of the archive"),
        (ustar.members([("a", b"x" * 600)])[:-600], 0, "'a' has 600 bytes, the file ends after 424 of them"),
        (ustar.members([("a", b"x")]) + bytes(512), 1024, "two belong there"),
        (ustar.members([("a", b"x")]) + ustar.END + ustar.members([("b", b"x")]), 2048, "behind the end"),
        (with_header(ustar.members([("a", b"")]), 124, b"0000000008\0\0"), 0, "is no number"),
        (with_header(ustar.members([("a", b"")]), 124, b"-0000000001\0"), 0, "is no number"),
        (with_header(ustar.members([("a", b"")]), 0, b"/etc/passwd"), 0, "absolute: '/etc/passwd'"),
        (with_header(ustar.members([("a", b"")]), 0, b"b/../../c"), 0, "leads out of its folder"),
        (with_header(ustar.members([("a", b"")]), 345, b".."), 0, "leads out of its folder"),
        (with_header(ustar.members([("a", b"")]), 0, b"\0"), 0, "empty"),
        (with_header(ustar.members([("a", b"")]), 0, b"\xff"), 0, "not UTF-8"),
        (with_header(ustar.members([("a", b"")]), 156, b"Z"), 0, "unknown type b'Z'"),
        (with_header(ustar.members([("a", b"")]), 156, b"x") + ustar.END, 512, "without its member"),
        (with_header(ustar.members([("a", b"x")]), 156, b"x") + ustar.END, 0, "damaged extended header"),
        (with_header(ustar.members([("a", b"15 size=abcdef\n")]), 156, b"x") + ustar.END, 0, "no number: 'abcdef'"),
        (with_header(ustar.members([("a", b"9 path=a\n")]), 156, b"g") + ustar.END, 0, "all members one name"),
        (ustar.members([("a", b"x")]).replace(b"0000644", b"0000645"), 0, "checksum is wrong"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(data: bytes, offset: int, reason: str) -> None:
    error = failed(data)
    assert error.offset == offset
    assert reason in error.reason


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.CHRTYPE, "a character device"),
        (tarfile.BLKTYPE, "a block device"),
        (tarfile.FIFOTYPE, "a named pipe"),
    ],
)
@pytest.mark.parametrize("form", FORMATS)
def test_links_and_devices_are_refused_behind_what_is_good(form: int, kind: bytes, what: str) -> None:
    good = python_tar(form, [("a", b"x")])[:1024]
    assert (
        failed(good + python_tar(form, [("b", b"")], type=kind, linkname="/etc/passwd"))
        .args[0]
        .startswith(f"x.tar, byte 1024: 'b' is {what}")
    )


@pytest.mark.parametrize("form", FORMATS[1:])
def test_long_names_that_lead_out_are_refused(form: int) -> None:
    name = "../" * 60 + "etc/passwd"
    assert "leads out of its folder" in failed(python_tar(form, [(name, b"x")])).reason


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("a.jpg", ("a", "jpg")),
        ("a.b/c.seg.PNG", ("a.b/c", "seg.png")),
        ("./x/a.json", ("./x/a", "json")),
        ("a.", ("a", "")),
        ("a", None),
        ("a.b/c", None),
        (".hidden", None),
        ("x/.hidden", None),
        ("__reject__/000000001", None),
        ("__meta__/a.json", None),
        ("__meta__", None),
        ("__meta__.json", ("__meta__", "json")),
    ],
)
def test_keys_are_webdatasets(name: str, key: tuple[str, str] | None) -> None:
    assert key_of(name) == key


def group(*names: str, ordered: bool = True) -> list[tuple[str, set[str]]]:
    members = [Member(name, 1024 * number + 512, 1) for number, name in enumerate(names)]
    return [(one.key, set(one.members)) for one in samples(members, "x.tar", ordered=ordered)]


def test_samples_are_the_adjacent_members_of_a_key() -> None:
    assert group("a.jpg", "a.txt", "__reject__/b", "README", "c.jpg") == [("a", {"jpg", "txt"}), ("c", {"jpg"})]
    assert group("b.jpg", "a.jpg", "c.jpg", ordered=False) == [("b", {"jpg"}), ("a", {"jpg"}), ("c", {"jpg"})]
    assert group() == []


@pytest.mark.parametrize(
    ("names", "ordered", "number", "reason"),
    [
        (["a.jpg", "a.txt", "a.jpg"], False, 2, "'a.jpg' occurs twice"),
        (["a.jpg", "a.JPG"], False, 1, "'a.JPG' occurs twice"),
        (["a.jpg", "b.jpg", "a.txt"], False, 2, "'a.txt' is apart from the other members of 'a'"),
        (["a.jpg", "b.jpg", "a.txt"], True, 2, "'a.txt' is apart from the other members of 'a'"),
        (["b.jpg", "c.jpg", "a.jpg"], True, 2, "key 'a' stands behind 'c': out of order"),
    ],
)
def test_samples_that_readers_would_mix_up_are_refused(
    names: list[str], ordered: bool, number: int, reason: str
) -> None:
    with pytest.raises(TarError) as raised:
        group(*names, ordered=ordered)
    assert (raised.value.offset, raised.value.path) == (1024 * number + 512, "x.tar")
    assert reason in raised.value.reason


items = st.lists(st.builds(Item, st.binary(max_size=1100) | st.none(), st.text(max_size=20)), max_size=6)


@given(items=items)
def test_any_items_come_back_as_samples(items: list[Item]) -> None:
    data = b"".join(all_bytes(items)) + ustar.END
    found = {
        one.key: {name: data[member.offset : member.offset + member.size] for name, member in one.members.items()}
        for one in samples(scan(data, "x.tar"), "x.tar")
    }
    assert {key: (parts["jpg"], parts["txt"].decode()) for key, parts in found.items()} == {
        f"{number:09d}": (item.picture, item.text) for number, item in enumerate(items) if item.picture is not None
    }
