import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharding import ustar

# What a file name may hold on disk, less what the writer refuses.
names = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=25).filter(
    lambda name: name not in {".", ".."}
)
SAMPLES = [
    (f"{number:09d}", bytes([0xFF, 0xD8, number]) * (number * 171), f"ein Füchslein 🦊 {number}") for number in range(7)
]


def tar_of(samples: list[tuple[str, bytes, str]]) -> bytes:
    contents = []
    for key, picture, text in samples:
        contents += [
            (f"{key}.jpg", picture),
            (f"{key}.txt", text.encode()),
            (f"{key}.json", b'{"key": "%s"}' % key.encode()),
        ]
        contents.append((f"__reject__/{key}", b"{}"))
    return ustar.members(contents) + ustar.END


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    path = tmp_path / "00000.tar"
    path.write_bytes(tar_of(SAMPLES))
    return path


@given(name=names, size=st.integers(0, ustar.MAX_SIZE_BYTES))
def test_a_header_is_what_python_writes_for_a_file_without_time_and_owner(name: str, size: int) -> None:
    member = tarfile.TarInfo(name)
    member.size = size
    assert ustar.header(name, size) == member.tobuf(tarfile.USTAR_FORMAT)


@given(contents=st.lists(st.tuples(names, st.binary(max_size=1100)), max_size=4))
def test_tarfile_reads_back_any_members(contents: list[tuple[str, bytes]]) -> None:
    data = ustar.members(contents) + ustar.END
    assert len(data) == sum(512 + len(content) + len(ustar.padding(len(content))) for _, content in contents) + 1024
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        read = [(member, tar.extractfile(member)) for member in tar]
        assert [(member.name, file.read() if file else None) for member, file in read] == contents
        facts = {(member.mtime, member.mode, member.uid, member.gid, member.uname, member.type) for member, _ in read}
    assert facts <= {(0, 0o644, 0, 0, "", tarfile.REGTYPE)}


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        ("", 1, "1 to 100 bytes"),
        ("x" * 101, 1, "1 to 100 bytes"),
        ("ü" * 51, 1, "1 to 100 bytes"),
        ("/etc/passwd", 1, "absolute"),
        ("a/../../b", 1, r"\.\."),
        ("..", 1, r"\.\."),
        ("a/", 1, "directory"),
        ("a\0b", 1, "NUL"),
        ("\ud800", 1, "surrogates"),
        ("a", -1, "-1"),
        ("a", 8 << 30, "8589934592"),
    ],
)
def test_what_the_format_cannot_hold_or_no_one_should_unpack_is_refused(name: str, size: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        ustar.header(name, size)


@pytest.mark.parametrize(("name", "size"), [("x" * 100, 0), ("ü" * 50, (8 << 30) - 1), ("a/..b/c..", 1)])
def test_the_largest_names_and_sizes_are_written(name: str, size: int) -> None:
    member = tarfile.TarInfo.frombuf(ustar.header(name, size), "utf-8", "strict")
    assert (member.name, member.size) == (name, size)


def test_gnu_tar_lists_and_unpacks_it(tar: Path, tmp_path: Path) -> None:
    listed = subprocess.run(["tar", "tvf", tar], capture_output=True, text=True, check=True)
    assert (len(listed.stdout.splitlines()), listed.stderr) == (4 * len(SAMPLES), "")
    assert listed.stdout.splitlines()[0].startswith("-rw-r--r-- 0/0")
    folder = tmp_path / "unpacked"
    folder.mkdir()
    subprocess.run(["tar", "xf", tar, "-C", folder], check=True)
    for key, picture, text in SAMPLES:
        assert (folder / f"{key}.jpg").read_bytes() == picture
        assert (folder / f"{key}.txt").read_text(encoding="utf-8") == text


def test_webdataset_reads_the_samples_and_no_rejects(tar: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    read = list(webdataset.WebDataset(str(tar), shardshuffle=False))
    assert [(sample["__key__"], sample["jpg"], sample["txt"].decode()) for sample in read] == SAMPLES
    assert {tuple(sorted(set(sample) - {"__url__", "__local_path__"})) for sample in read} == {
        ("__key__", "jpg", "json", "txt")
    }


def test_datasets_reads_the_samples_and_no_rejects(tar: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    read = datasets.load_dataset(
        "webdataset", data_files=str(tar), split="train", cache_dir=str(tmp_path / "cache")
    ).cast_column("jpg", datasets.Image(decode=False))
    assert [(row["__key__"], row["jpg"]["bytes"], row["txt"]) for row in read] == SAMPLES
    assert [row["json"] for row in read] == [{"key": key} for key, _, _ in SAMPLES]
