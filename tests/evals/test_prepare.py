"""`python -m evals.prepare`: what it writes, that it appears whole or not at all, and how mistakes are told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from evals.catalogue import find
from evals.counts import check_folder
from evals.errors import EvalError
from evals.folder import open_folder
from evals.prepare import main
from tests.evals import small_world
from tests.evals.source_tools import LONG_TAIL, class_folders, contents, image, images_of, write_files
from tests.evals.test_command import REPOSITORY

pytest.importorskip("PIL")
pytest.importorskip("open_clip")  # has the templates


def prepare(root: Path, source: Path, *words: str, name: str = "long_tail") -> Path:
    assert main([name, f"root={root}", f"source={source}", *words]) == 0
    return root / name


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_files(tmp_path / "source", class_folders(3))


def test_class_folders_become_a_data_set_with_images_as_they_were(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (source / "rose" / "0.png").write_bytes(image(77, "jpeg"))  # what a file is goes by its content
    (source / "rose" / "1.png").write_bytes(image(78, "bmp"))
    (source / "rose" / ".hidden.png").write_bytes(b"")
    (source / "readme.txt").write_text("hello")
    made = prepare(tmp_path / "root", source, "any_count=true", "samples_per_shard=8")
    assert "30 images in test, from class folders\nlicence: " in capsys.readouterr().out
    folder = open_folder(made)
    split = folder.split("test")
    assert folder.classnames[3] == "crystal ball" and len(folder.templates) == 80 and not folder.retrieval
    assert split.labels.tolist() == [number for number in range(10) for _ in range(3)]
    assert [path.name for path in split.shards] == ["0.tar", "1.tar", "2.tar", "3.tar"]
    given = [(source / name / f"{number}.png").read_bytes() for name in LONG_TAIL for number in range(3)]
    found = images_of(made)
    assert [one == other for one, other in zip(given, found, strict=True)].count(False) == 1
    assert found[16] == image(78)  # the BMP, as PNG
    assert split.images.keys[:2] == ("s0000000", "s0000001")
    assert "SynthCLIP" in (made / "licence.txt").read_text()


def test_the_bytes_are_the_same_again_and_elsewhere(tmp_path: Path, source: Path) -> None:
    one, two = (prepare(tmp_path / name, source, "any_count=true") for name in ("one", "two"))
    assert contents(one) == contents(two)
    assert str(tmp_path) not in (one / "checksums.json").read_text()


def test_counts_that_are_not_the_catalogues_are_refused_before_anything_is_made(tmp_path: Path, source: Path) -> None:
    with pytest.raises(EvalError, match=r"30 images in test, but long_tail has 1,500; .*any_count=true"):
        prepare(tmp_path / "root", source)
    assert not (tmp_path / "root").exists()


def test_a_class_without_a_test_image_is_named(tmp_path: Path) -> None:
    files = class_folders(1, [f"train/{number}" for number in range(10)])
    source = write_files(tmp_path / "source", files | class_folders(5, ["test/7"]))
    made = open_folder(prepare(tmp_path / "root", source, "any_count=true", name="cifar10"))
    assert made.split("test").labels.tolist() == [7] * 5 and made.classnames == tuple("0123456789")
    small = replace(find("cifar10"), splits={"train": (10,), "test": (5,)})
    with pytest.raises(EvalError, match="9 classes have no test image: 0, 1"):
        check_folder(small, made, any_count=False)


def test_other_classes_are_another_data_set_whatever_the_number_of_images(tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", class_folders(3, ("bird", "cat")))
    layout = small_world.write_classification(tmp_path / "layout", images=12)
    for folder, number in ((source, 2), (layout, 12)):
        with pytest.raises(
            EvalError, match=f"{number} classes, but cifar10 has 10; give cifar10's own, or measure it by"
        ):
            prepare(tmp_path / "root", folder, "any_count=true", "splits=test", name="cifar10")
    assert not (tmp_path / "root" / "cifar10").exists()


def test_a_folder_is_verified_by_its_checksums(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = prepare(tmp_path / "root", source, "any_count=true")
    words = ["long_tail", f"root={tmp_path / 'root'}", "check=true"]
    assert main(words) == 0
    assert "5 files as recorded; 30 images in test; prepared with any_count=true" in capsys.readouterr().out
    tar = made / "test" / "0.tar"
    good = tar.read_bytes()
    tar.write_bytes(good.replace(b"IHDR", b"IHDS", 1))
    with pytest.raises(EvalError, match=r"1 files have changed: test/0\.tar"):
        main(words)
    tar.write_bytes(good)
    (made / "test" / "1.tar").write_bytes(good)
    with pytest.raises(EvalError, match=r"1 files are new .*: test/1\.tar"):
        main(words)
    (made / "test" / "1.tar").unlink()
    (made / "classnames.txt").unlink()
    with pytest.raises(EvalError, match=r"1 files are missing: classnames\.txt"):
        main(words)
    (made / "checksums.json").write_text("[]")
    with pytest.raises(EvalError, match="not what prepare writes"):
        main(words)


def test_a_second_time_nothing_is_made(tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = prepare(tmp_path / "root", source, "any_count=true")
    before = (made / "test" / "0.tar").stat().st_ino
    prepare(tmp_path / "root", source)
    assert "is there already" in capsys.readouterr().out and (made / "test" / "0.tar").stat().st_ino == before


def test_a_folder_in_clip_benchmarks_layout_is_checked_and_copied_or_left_where_it_is(
    tmp_path: Path, source: Path
) -> None:
    made = prepare(tmp_path / "one", source, "any_count=true")
    recorded = (made / "checksums.json").read_bytes()
    (made / ".git").mkdir()
    copied = prepare(tmp_path / "two", made, "any_count=true")
    assert contents(copied) == contents(made)
    (copied / "licence.txt").unlink()
    assert contents(prepare(tmp_path / "four", copied, "any_count=true")) == contents(made)
    (made / "checksums.json").unlink()
    with pytest.raises(EvalError, match=r"is there, without checksums\.json; source=.*/one/long_tail verifies"):
        prepare(tmp_path / "one", source)
    with pytest.raises(EvalError, match="30 images in test, but long_tail has 1,500"):
        prepare(tmp_path / "one", made)
    prepare(tmp_path / "one", made, "any_count=true")
    assert (made / "checksums.json").read_bytes() == recorded
    (made / "licence.txt").write_text("mine")
    prepare(tmp_path / "one", made, "any_count=true")  # what has changed since is not taken for right
    assert (made / "checksums.json").read_bytes() == recorded
    (made / "test" / "nshards.txt").write_text("2")
    with pytest.raises(EvalError, match=r"1 of 2 shards are missing: 1\.tar"):
        prepare(tmp_path / "three", made, "any_count=true")
    assert not (tmp_path / "three" / "long_tail").exists()


def test_a_killed_prepare_leaves_nothing_that_looks_whole_and_the_next_makes_it(tmp_path: Path, source: Path) -> None:
    calm = prepare(tmp_path / "calm", source, "any_count=true", "samples_per_shard=4")
    last = source / "x-ray" / "2.png"
    content = last.read_bytes()
    last.unlink()
    os.mkfifo(last)  # reading it waits for ever, so the kill comes in the middle
    root = tmp_path / "root"
    words = ["long_tail", f"root={root}", f"source={source}", "any_count=true", "samples_per_shard=4"]
    command = [sys.executable, "-m", "evals.prepare", *words]
    with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL) as process:
        waiting = root / ".long_tail.part" / "test" / "7.tar"
        while not waiting.exists():
            assert process.poll() is None
            time.sleep(0.01)
        with pytest.raises(EvalError, match="another process is preparing this data set"):
            prepare(root, calm, "any_count=true")
        process.send_signal(signal.SIGKILL)
    assert not (root / "long_tail").exists() and waiting.exists()
    last.unlink()
    last.write_bytes(content)
    assert contents(prepare(root, source, *words[3:])) == contents(calm)
    assert [path.name for path in root.iterdir()] == ["long_tail"]


def test_an_image_that_is_none_is_named_and_nothing_is_left(tmp_path: Path, source: Path) -> None:
    (source / "rose" / "1.png").write_bytes(b"<html>")
    with pytest.raises(EvalError, match=r"rose/1\.png: no image, or a damaged one"):
        prepare(tmp_path / "root", source, "any_count=true")
    assert list((tmp_path / "root").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["long_tails"], r"long_tails \(did you mean 'long_tail'\?\): no such data set"),
        (["long_tail"], "root=: prepare long_tail needs it.* See python -m evals.prepare long_tail --help"),
        (["--check", "true"], "the name of a data set is missing; write it first"),
        (["--root", "R", "long_tail"], "source=: give what long_tail is made from"),
        (["long_tail", "root=R", "sauce=x"], r"no such key \(did you mean 'source'\?\)"),
        (["long_tail", "root=R"], "source=: give what long_tail is made from"),
        (["long_tail", "root=R", "source=nowhere"], "source=nowhere: there is nothing there"),
        (["long_tail", "root=R", "source=S", "splits=tests"], r"has no tests \(did you mean 'test'\?\)"),
        (["long_tail", "root=R", "source=S", "samples_per_shard=0"], "samples_per_shard=0: must be 1 or more"),
        (["long_tail", "root=R", "source=S", "captions=C"], "is a classification set, which has none"),
        (["long_tail", "root=R", "source=S", "download=true"], "torchvision has no long_tail"),
        (["flickr8k", "root=R", "source=S"], "captions=: flickr8k is a retrieval set"),
        (["long_tail", "root=R", "check=true"], "no long_tail in it; prepare it"),
        (["pets", "root=R", "source=S"], "no splits in it: folders called train, test would tell them"),
        (["dtd", "root=R", "source=T"], "has train, val, test, but no val, test is there; .* splits=train"),
        (["sun397", "root=R", "source=S"], r"Training_01\.txt and Testing_01\.txt would tell them"),
        (["long_tail", "root=R", "source=S/rose"], "lies in no class folder"),
        (["long_tail", "root=R", "source=E"], "no image in it"),
        (
            ["long_tail", "root=R", "source=L"],
            "source=L: no data set in CLIP_benchmark's layout, as no folder in it has ns",
        ),
        (["flickr8k", "root=R", "source=L"], "source=L: no data set in CLIP_benchmark's layout"),
        (["long_tail", "root=R", "source=readme.txt"], "neither a folder nor a zip or tar"),
    ],
)
def test_a_mistake_is_named(
    tmp_path: Path, source: Path, words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.rename(tmp_path / "S")
    write_files(tmp_path / "T", class_folders(2, ("train/a", "train/b")))
    (tmp_path / "E").mkdir()
    (small_world.write_classification(tmp_path / "L", images=12) / "test" / "nshards.txt").unlink()
    (tmp_path / "readme.txt").write_text("hello")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EvalError, match=message):
        main(words)
    assert not (tmp_path / "R" / "long_tail").exists()


def test_the_command_tells_a_mistake_in_a_line_and_ends_with_2() -> None:
    command = [sys.executable, "-m", "evals.prepare", "cifar11", "root=x"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: cifar11 (did you mean 'cifar10'?)")
    assert len(done.stderr.splitlines()) == 1 and not done.stdout


def test_captions_are_written_a_line_each_and_an_empty_one_is_named(tmp_path: Path) -> None:
    entries = [
        {"filename": "b.png", "split": "test", "sentences": [{"raw": "one\ntwo"}, {"raw": " three "}]},
        {"filename": "a.png", "split": "test", "sentences": [{"raw": "four"}]},
        {"filename": "c.png", "split": "train", "sentences": [{"raw": "five"}]},
    ]
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"images": entries}))
    source = write_files(tmp_path / "images", {f"{name}.png": image(n) for n, name in enumerate("abc")})
    words = [f"captions={path}", "any_count=true"]
    made = prepare(tmp_path / "root", source, *words, name="flickr8k")
    assert open_folder(made).split("test").captions == (("one two", "three"), ("four",))
    assert images_of(made) == [image(1), image(0)] and sorted(contents(made)) == [
        "checksums.json", "dataset_type.txt", "licence.txt", "test/0.tar", "test/nshards.txt",
    ]  # fmt: skip
    with pytest.raises(EvalError, match="2 images in test, but flickr8k has 1,000"):
        prepare(tmp_path / "other", source, words[0], name="flickr8k")
    path.write_text(json.dumps({"images": [entries[0] | {"sentences": [{"raw": " "}]}]}))
    with pytest.raises(EvalError, match=r"b\.png: no caption, or an empty one"):
        prepare(tmp_path / "other", source, *words, name="flickr8k")


def test_checksums_name_each_file_and_the_licence(tmp_path: Path, source: Path) -> None:
    record = json.loads((prepare(tmp_path, source, "any_count=true") / "checksums.json").read_text())
    assert record["name"] == "long_tail" and record["images"] == {"test": 30} and record["licence"]
    assert sorted(record["files"]) == [
        "classnames.txt", "licence.txt", "test/0.tar", "test/nshards.txt", "zeroshot_classification_templates.txt",
    ]  # fmt: skip
