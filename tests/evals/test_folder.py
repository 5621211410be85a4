"""Data folders: CLIP_benchmark's layout is read as it is, and each way in which one can be wrong is named."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from evals.errors import EvalError
from evals.folder import open_folder
from tests.evals.small_world import Member, write_split, write_tar, write_texts


def sample(key: str, label: str, image: str = "jpg") -> list[Member]:
    return [(f"{key}.{image}", f"image {key}".encode()), (f"{key}.cls", label.encode())]


def classification(folder: Path, labels: str = "01201") -> Path:
    members = [sample(f"k{number}", label) for number, label in enumerate(labels)]
    write_split(folder, "test", [[m for one in members[:3] for m in one], [m for one in members[3:] for m in one]])
    write_texts(folder, ["ant", "bee", "cat"], ["a {c}"])
    return folder


def test_samples_come_in_the_order_of_shards_with_their_labels_and_places(tmp_path: Path) -> None:
    folder = open_folder(classification(tmp_path))
    split = folder.split("test")
    assert folder.classnames == ("ant", "bee", "cat") and folder.templates == ("a {c}",) and not folder.retrieval
    assert split.labels.tolist() == [0, 1, 2, 0, 1]
    images = split.images
    assert images.keys == ("k0", "k1", "k2", "k3", "k4") and images.shard.tolist() == [0, 0, 0, 1, 1]
    for index in range(5):
        content = images.shards[images.shard[index]].read_bytes()
        assert content[images.offset[index] :][: images.size[index]] == f"image k{index}".encode()
    folder.check_labels(split)
    split.check_count(5)
    assert folder.empty_classes(split) == []


def test_a_retrieval_set_has_captions_a_line_each(tmp_path: Path) -> None:
    write_split(
        tmp_path, "test", [[("a.png", b"1"), ("a.txt", "one\ntwö\n".encode()), ("b.webp", b"2"), ("b.txt", b"three")]]
    )
    (tmp_path / "dataset_type.txt").write_text("Retrieval\n")
    split = open_folder(tmp_path).split("test")
    assert split.captions == (("one", "twö"), ("three",))
    with pytest.raises(EvalError, match="has captions and no classes"):
        _ = split.labels


def test_tar_files_of_all_formats_read_alike(tmp_path: Path) -> None:
    long = "folder/" + "n" * 120
    for number, kind in enumerate((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
        path = tmp_path / str(number) / "test" / "0.tar"
        path.parent.mkdir(parents=True)
        with tarfile.open(path, "w", format=kind) as tar:
            directory = tarfile.TarInfo("folder")
            directory.type = tarfile.DIRTYPE
            tar.addfile(directory)
            for name, content in [
                ("./x.JPG", b"x"),
                ("./x.cls", b"1"),
                (f"{long}.png", b"long"),
                (f"{long}.cls", b"0\n"),
            ]:
                member = tarfile.TarInfo(name if kind != tarfile.USTAR_FORMAT else name.replace(long, "folder/n"))
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        (path.parent / "nshards.txt").write_text("1")
        split = open_folder(tmp_path / str(number)).split("test")
        assert split.images.keys == ("x", long if kind != tarfile.USTAR_FORMAT else "folder/n")
        assert split.labels.tolist() == [1, 0]
        assert split.images.size.tolist() == [1, 4]
        content = path.read_bytes()
        assert content[split.images.offset[1] :][:4] == b"long"


def test_a_sample_takes_the_image_that_clip_benchmark_would(tmp_path: Path) -> None:
    write_split(
        tmp_path, "test", [[("a.jpg", b"jpeg"), ("a.webp", b"webp!"), ("a.seg.png", b"other"), ("a.cls", b"0")]]
    )
    assert open_folder(tmp_path).split("test").images.size.tolist() == [5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "test" / "1.tar").unlink(), r"1 of 2 shards are missing: 1\.tar"),
        (lambda folder: write_tar(folder / "test" / "2.tar", []), r"nshards\.txt says 2, but there are 2\.tar as well"),
        (lambda folder: (folder / "test" / "nshards.txt").write_text("two"), "'two' is no number of shards"),
        (lambda folder: (folder / "dataset_type.txt").write_text("multilabel"), "'multilabel' is not supported"),
        (lambda folder: write_tar(folder / "test" / "1.tar", []), r"1\.tar: an empty shard"),
        (lambda folder: write_tar(folder / "test" / "1.tar", [("a.cls", b"1")]), "sample a: no image .*it has cls"),
        (lambda folder: write_tar(folder / "test" / "1.tar", [("a.jpg", b"1")]), "sample a: no class number"),
        (lambda folder: write_tar(folder / "test" / "1.tar", sample("a", "x")), "b'x' in its .cls is no class number"),
        (lambda folder: write_tar(folder / "test" / "1.tar", sample("a", "3")), "class 3, but .* 3 names, 0 to 2"),
        (lambda folder: write_tar(folder / "test" / "1.tar", sample("a", "-1")), "class -1, but"),
        (lambda folder: write_tar(folder / "test" / "1.tar", 2 * sample("a", "1")), r"two members a\.(jpg|cls)"),
        (lambda folder: (folder / "classnames.txt").unlink(), "classnames.txt: missing or empty.*`retrieval` into"),
        (
            lambda folder: (folder / "classnames.txt").write_text("ant\n\nbee\ncat\n"),
            r"classnames\.txt: line 2 is empty",
        ),
    ],
)
def test_a_wrong_folder_is_refused_by_name(tmp_path: Path, change, message: str) -> None:
    change(classification(tmp_path))
    with pytest.raises(EvalError, match=message):
        folder = open_folder(tmp_path)
        folder.check_labels(folder.split("test"))


@pytest.mark.parametrize("left", [100, 700, 1300, 2048])
def test_a_tar_that_is_cut_off_anywhere_is_refused(tmp_path: Path, left: int) -> None:
    path = classification(tmp_path) / "test" / "1.tar"
    path.write_bytes(path.read_bytes()[:left])  # in a header, a content, a later header, and just before the end blocks
    with pytest.raises(EvalError, match=r"1\.tar: cut off behind byte"):
        _ = open_folder(tmp_path).split("test").labels


def test_a_file_that_is_no_tar_is_refused(tmp_path: Path) -> None:
    (classification(tmp_path) / "test" / "0.tar").write_bytes(b"<html>" * 500)
    with pytest.raises(EvalError, match=r"0\.tar: no tar, or damaged"):
        _ = open_folder(tmp_path).split("test").images


def test_a_folder_that_is_none_an_unknown_split_and_a_wrong_count_are_told(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="there is no such folder"):
        open_folder(tmp_path / "nowhere")
    with pytest.raises(EvalError, match=r"no folder in it has nshards\.txt"):
        open_folder(tmp_path)
    folder = open_folder(classification(tmp_path))
    with pytest.raises(EvalError, match=r"split=tests \(did you mean 'test'\?\)"):
        folder.split("tests")
    with pytest.raises(EvalError, match="5 images in 2 shards, expected 6"):
        folder.split("test").check_count(6)


def test_a_class_without_images_is_found(tmp_path: Path) -> None:
    folder = open_folder(classification(tmp_path, "00200"))
    assert folder.empty_classes(folder.split("test")) == [1]


def test_the_key_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    one, two = (open_folder(classification(tmp_path / name)) for name in ("one", "two"))
    assert one.split("test").key == two.split("test").key and one.text_key == two.text_key
    write_texts(two.path, ["ant", "bee", "dog"], ["a {c}"])
    assert open_folder(two.path).text_key != one.text_key
    path = two.path / "test" / "1.tar"
    path.write_bytes(path.read_bytes().replace(b"image k4", b"image k9"))
    assert two.split("test").key != one.split("test").key


def test_of_a_large_shard_all_labels_and_sizes_and_a_part_of_the_pixels_are_in_the_key(tmp_path: Path) -> None:
    folder = classification(tmp_path)

    def key(fill: bytes = b"x", label: str = "1", size: int = 1 << 20) -> str:
        images = [(f"k{number}.jpg", (fill if number == 3 else b"x") * size) for number in range(6)]
        labels = [(f"k{number}.cls", label.encode() if number == 3 else b"0") for number in range(6)]
        write_tar(folder / "test" / "0.tar", [member for pair in zip(images, labels, strict=True) for member in pair])
        return open_folder(folder).split("test").key

    assert key() == key()
    assert len({key(), key(label="2"), key(fill=b"y"), key(size=(1 << 20) - 1)}) == 4


FORMATS = {"plain": tarfile.USTAR_FORMAT, "long names": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def ten_samples(folder: Path, kind: str) -> Path:
    """Write ten samples to a tar of one format; those of long names leave the plain headers. Return the tar."""
    path = folder / "test" / "0.tar"
    path.parent.mkdir(parents=True)
    stem = "k" if kind == "plain" else "k" * 120
    with tarfile.open(path, "w", format=FORMATS[kind]) as tar:
        for number in range(10):
            for name, content in sample(f"{stem}{number}", "1"):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    (path.parent / "nshards.txt").write_text("1")
    return path


def headers(path: Path) -> list[int]:
    """Return where the headers of members begin, those in front of them (long names, pax records) included."""
    with tarfile.open(path) as tar:
        starts = [member.offset for member in tar]
        return starts + [member.offset_data - 512 for member in tar if member.offset_data - 512 not in starts]


def damage(path: Path, how: str) -> None:
    content, middle = bytearray(path.read_bytes()), sorted(headers(path))[len(headers(path)) // 2]
    if how == "a hole of zeros":
        content[middle : middle + 512] = bytes(512)
    elif how == "a flipped bit of a size":
        content[middle + 134] ^= 1
    elif how == "a checksum that is no octal number":
        content[middle + 148 : middle + 156] = b"99x99\0  "
    elif how == "a size that is no octal number":
        content[middle + 124 : middle + 136] = b"00000000009\0"
        told = sum(content[middle : middle + 148]) + 256 + sum(content[middle + 156 : middle + 512])
        content[middle + 148 : middle + 156] = b"%06o\0 " % told
    elif how == "something behind the end":
        content[-1] = 1
    path.write_bytes(content)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "how",
    [
        "a hole of zeros", "a flipped bit of a size", "a checksum that is no octal number",
        "a size that is no octal number", "something behind the end",
    ],
)  # fmt: skip
def test_a_tar_that_is_damaged_in_its_middle_is_refused_and_not_read_short(tmp_path: Path, kind: str, how: str) -> None:
    path = ten_samples(tmp_path, kind)
    assert len(open_folder(tmp_path).split("test").images) == 10
    damage(path, how)
    with pytest.raises(EvalError, match=r"0\.tar: no tar, or damaged.* copy or make it anew"):
        _ = open_folder(tmp_path).split("test").images


@pytest.mark.parametrize("kind", FORMATS)
def test_a_tar_that_is_cut_at_or_in_a_header_or_before_its_end_marker_is_refused(tmp_path: Path, kind: str) -> None:
    path = ten_samples(tmp_path, kind)
    whole = path.read_bytes()
    starts = headers(path)
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    assert len(starts) >= 20
    for left in [*(start for start in starts if start), *(start + 100 for start in starts), end]:
        path.write_bytes(whole[:left])
        with pytest.raises(EvalError, match=r"0\.tar: (cut off behind byte|no tar, or damaged)"):
            _ = open_folder(tmp_path).split("test").images
    path.write_bytes(whole[: end + 512])  # one block of zeros is an end
    assert len(open_folder(tmp_path).split("test").images) == 10


def test_headers_of_old_writers_are_read(tmp_path: Path) -> None:
    path = ten_samples(tmp_path, "plain")
    content = bytearray(path.read_bytes())
    for start in headers(path):
        header = content[start : start + 512]
        header[257:265] = bytes(8)  # before POSIX there was no magic
        header[0] = ord("\u00e9")  # not ASCII, so that sums of signed and of unsigned bytes differ
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % (sum(header) - 256)
        content[start : start + 512] = header
    path.write_bytes(content)
    assert open_folder(tmp_path).split("test").labels.tolist() == [1] * 10
