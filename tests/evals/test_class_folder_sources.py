"""Class folders, in folders and archives: which image is of which split and class, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evals.catalogue import find
from evals.errors import EvalError
from evals.sources.class_names import prompt_names
from tests.evals.source_tools import LONG_TAIL, class_folders, image, opened, told, write_files, write_tar, write_zip

pytest.importorskip("PIL")


def test_archives_give_what_a_folder_gives(tmp_path: Path) -> None:
    files = {f"set-1.0/{name}": content for name, content in class_folders(2).items()}
    files |= {"set-1.0/readme.txt": b"", "__MACOSX/rose/0.png": b""}
    expected = told(opened("long_tail", write_files(tmp_path / "folder", files)))
    assert len(expected["test"]) == 20 and [label for label, _ in expected["test"]][:4] == [0, 0, 1, 1]
    for archive in (
        write_zip(tmp_path / "a.zip", files),
        write_tar(tmp_path / "a.tar", files),
        write_tar(tmp_path / "a.tgz", files, "w:gz"),
    ):
        source = opened("long_tail", archive)
        assert told(source) == expected and source.classes == LONG_TAIL


@pytest.mark.parametrize("name", ["../rose/0.png", "/rose/0.png", "rose/../../0.png"])
def test_an_archive_whose_names_lead_out_of_it_is_refused(tmp_path: Path, name: str) -> None:
    for archive in (write_tar(tmp_path / "a.tar", {name: image(1)}), write_zip(tmp_path / "a.zip", {name: image(1)})):
        with pytest.raises(EvalError, match="leads out of the archive"):
            opened("long_tail", archive)


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tgz", {f"rose/{n}.png": image(n) for n in range(200)}, "w:gz")
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(EvalError, match=r"a\.tgz: damaged"):
        opened("long_tail", path)


def test_folders_of_splits_are_taken_by_any_of_their_names(tmp_path: Path) -> None:
    files = class_folders(1, ("training/a", "training/b", "valid/a", "Test/b"))
    source = opened("cifar10", write_files(tmp_path / "three", files))
    assert {split: [sample.label for sample in one] for split, one in source.splits.items()} == {
        "train": [0, 1],
        "val": [0],
        "test": [1],
    }
    # ImageNet's own test images have no labels: measured on validation.
    assert set(opened("imagenet1k", write_files(tmp_path / "val", class_folders(1, ["val/n01440764"]))).splits) == {
        "test"
    }
    assert set(
        opened("food101", write_files(tmp_path / "no", class_folders(1, ["train/a", "validation/a"]))).splits
    ) == {
        "train",
        "test",
    }


def test_lists_tell_the_splits_and_what_they_do_not_name_is_left_out(tmp_path: Path) -> None:
    files = {f"SUN397/{name}": one for name, one in class_folders(3, ("a/abbey", "o/outhouse/indoor")).items()}
    write_files(tmp_path, files)
    write_files(tmp_path, {"SUN397/Training_01.txt": b"/a/abbey/0.png\n/o/outhouse/indoor/2.png\n"})
    write_files(tmp_path, {"SUN397/Testing_01.txt": b"/o/outhouse/indoor/0.png\n/a/abbey/1.png\n"})
    source = opened("sun397", tmp_path)
    assert told(source) == {"train": [(0, image(0)), (1, image(5))], "test": [(1, image(3)), (0, image(1))]}
    assert prompt_names(find("sun397"), source.classes) == ["abbey", "outhouse indoor"]
    (tmp_path / "SUN397" / "a" / "abbey" / "1.png").unlink()
    with pytest.raises(EvalError, match=r"a/abbey/1\.png, which .*Testing_01\.txt names, is missing"):
        opened("sun397", tmp_path)


def test_caltech_without_splits_gets_30_of_each_class_for_training_wherever_it_lies(tmp_path: Path) -> None:
    files = class_folders(33, ("BACKGROUND_Google", "Faces_easy", "yin_yang"))
    splits = []
    for folder in (tmp_path / "one", tmp_path / "two" / "caltech101" / "101_ObjectCategories"):
        write_files(folder, files)
        splits.append(opened("caltech101", folder.parents[1] if folder.name != "one" else folder))
    one, two = map(told, splits)
    assert one == two and {split: len(samples) for split, samples in one.items()} == {"train": 90, "test": 9}
    assert [label for label, _ in one["test"]] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    names = prompt_names(find("caltech101"), splits[0].classes)
    assert names == ["background", "centered face", "yin and yang symbol"]


def test_imagenets_classes_are_named_by_wordnet_id_and_by_number(tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    info = find("imagenet-r")
    assert prompt_names(info, ["n01443537", "n01484850"]) == ["goldfish", "great white shark"]
    with pytest.raises(EvalError, match="1 class folders are none of its classes: n01440764"):
        prompt_names(info, ["n01440764", "n01443537"])  # a tench, of which ImageNet-R has none
    with pytest.raises(EvalError, match="2 class folders are no WordNet ids of ImageNet's 1,000 classes: cat, dog"):
        prompt_names(find("imagenet_sketch"), ["cat", "dog", "n01440764"])
    folder = write_files(tmp_path / "v2", class_folders(1, ["10", "9", "0"]))
    source = opened("imagenetv2", folder)
    assert source.classes == ("0", "9", "10") and prompt_names(find("imagenetv2"), source.classes)[0] == "tench"
    with pytest.raises(EvalError, match="a class 1000, but ImageNet's are 0 to 999"):
        prompt_names(find("imagenetv2"), ["999", "1000"])


def test_of_objectnet_only_classes_that_imagenet_has_are_taken(tmp_path: Path) -> None:
    files = class_folders(2, ("images/alarm_clock", "images/air_freshener", "images/basket_x"))
    tables = {"alarm_clock": "Alarm clock", "air_freshener": "Air freshener", "basket_x": "Basket"}
    files["mappings/folder_to_objectnet_label.json"] = json.dumps(tables).encode()
    source_folder = write_files(tmp_path / "objectnet-1.0", files)
    with pytest.raises(EvalError, match=r"no objectnet_to_imagenet_1k\.json"):
        opened("objectnet", source_folder)
    shared = {"Basket": "shopping basket; hamper", "Alarm clock": "analog clock"}
    write_files(source_folder, {"mappings/objectnet_to_imagenet_1k.json": json.dumps(shared).encode()})
    source = opened("objectnet", source_folder)
    assert prompt_names(find("objectnet"), source.classes) == ["alarm clock", "basket"]
    assert told(source) == {"test": [(0, image(0)), (0, image(1)), (1, image(4)), (1, image(5))]}


def test_a_class_that_is_none_of_a_fixed_list_is_named() -> None:
    assert prompt_names(find("long_tail"), ["Crystal_Ball", "x ray"]) == ["crystal ball", "x-ray"]
    with pytest.raises(EvalError, match="tulip is no class of it"):
        prompt_names(find("long_tail"), ["rose", "tulip"])


def test_folders_that_link_to_one_another_are_walked_once(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "folder", class_folders(1))
    (folder / "rose" / "again").symlink_to(folder)
    assert len(opened("long_tail", folder).splits["test"]) == 10
