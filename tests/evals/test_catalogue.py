"""The catalogue: what the paper measures on is in it, whole and consistent, and found by name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from evals import catalogue
from evals.catalogue_help import facts_of, overview
from evals.errors import EvalError

IMAGES = {
    "cifar10": 10_000, "cifar100": 10_000, "fgvc_aircraft": 3_333, "dtd": 1_880, "flowers": 6_149, "pets": 3_669,
    "sun397": 19_850, "caltech101": 6_084, "food101": 25_250, "mscoco_captions": 5_000, "flickr8k": 1_000,
    "flickr30k": 1_000, "imagenet1k": 50_000, "imagenetv2": 10_000, "imagenet-a": 7_500, "imagenet-r": 30_000,
    "imagenet-o": 2_000, "imagenet_sketch": 50_889, "objectnet": 18_574, "long_tail": 1_500,
}  # fmt: skip
CLASSES = {
    "cifar10": 10, "cifar100": 100, "fgvc_aircraft": 100, "dtd": 47, "flowers": 102, "pets": 37, "sun397": 397,
    "caltech101": 102, "food101": 101, "imagenet-a": 200, "imagenet-r": 200, "imagenet-o": 200, "objectnet": 113,
    "long_tail": 10, "imagenet1k": 1000, "imagenetv2": 1000, "imagenet_sketch": 1000,
}  # fmt: skip


def test_all_sets_of_the_paper_are_there_with_their_test_images_and_classes() -> None:
    found = {name: catalogue.find(name) for name in catalogue.names()}
    assert {name: info.images("test") for name, info in found.items()} == IMAGES
    assert {name: info.classes for name, info in found.items() if info.kind == "classification"} == CLASSES
    assert [name for name, info in found.items() if info.kind == "retrieval"] == catalogue.collection("retrieval")
    assert {name for name, info in found.items() if info.metric == "mean_per_class_recall"} == {
        "fgvc_aircraft", "flowers", "pets", "caltech101",
    }  # fmt: skip
    assert all(info.licence and info.homepage and info.reference for info in found.values())
    assert found["mscoco_captions"].captions == {"test": 25_010} and found["imagenet1k"].images("train") == 0


def test_collections_are_in_the_order_of_the_papers_tables() -> None:
    paper = catalogue.collection("paper")
    assert paper == [*catalogue.collection("probe"), *catalogue.collection("retrieval"), "imagenet1k"]
    assert len(paper) == 13 and catalogue.names()[:13] == paper and len(catalogue.collection("robustness")) == 6
    # Linear probe and few-shot need something to learn from.
    assert all(catalogue.find(name).images("train") for name in catalogue.collection("probe"))


def test_each_classification_set_has_templates_and_retrieval_has_none() -> None:
    pytest.importorskip("open_clip")
    counts = {name: len(catalogue.prompts_of(catalogue.find(name))) for name in catalogue.names()}
    assert {name: count for name, count in counts.items() if count not in (0, 80)} == {
        "cifar10": 18, "cifar100": 18, "fgvc_aircraft": 2, "dtd": 8, "flowers": 1, "pets": 1, "sun397": 2,
        "caltech101": 34, "food101": 1,
    }  # fmt: skip
    assert [name for name, count in counts.items() if count == 0] == catalogue.collection("retrieval")
    assert catalogue.find("imagenet1k").templates == "simple7"  # Table 1; the folder's file is CLIP_benchmark's
    for name in catalogue.names():
        prompts = catalogue.prompts_of(catalogue.find(name))
        assert all("{c}" in prompt and "{a}" not in prompt for prompt in prompts) and len(set(prompts)) == len(prompts)
    assert catalogue.find("dtd").templates[::4] == ("a photo of a {c} texture.", "a photo of the {c} texture.")


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(EvalError, match=r"cifar-10 \(did you mean 'cifar10'\?\): no such data set"):
        catalogue.find("cifar-10")
    with pytest.raises(EvalError, match=r"robust \(did you mean 'robustness'\?\): no such collection"):
        catalogue.collection("robust")


def test_a_set_is_found_by_what_clip_benchmarks_users_call_it(tmp_path: Path) -> None:
    info = catalogue.find("vtab/cifar10")
    assert info.name == "cifar10" and info.find(tmp_path) is None
    for folder in ("wds_vtab-cifar10", "vtab/cifar10", "cifar10"):  # each later one goes first
        (tmp_path / folder).mkdir(parents=True)
        assert info.find(tmp_path) == tmp_path / folder


def test_wrong_counts_are_refused_and_those_of_other_peoples_folders_are_not() -> None:
    caltech = catalogue.find("caltech101")
    caltech.check_images({"train": 3060, "test": 6084}, "here", "")
    caltech.check_images({"train": 2754, "val": 306, "test": 6085}, "here", "")
    with pytest.raises(EvalError, match=r"here: 6,083 images in test, but caltech101 has 6,084 or 6,085; copy it"):
        caltech.check_images({"test": 6083}, "here", "copy it")
    with pytest.raises(EvalError, match="3,059 images in train, but caltech101 has 3,060"):
        caltech.check_images({"train": 2754, "val": 305, "test": 6085}, "here", "")
    with pytest.raises(EvalError, match="1,881 images in val, but dtd has 1,880; copy it"):
        catalogue.find("dtd").check_images({"val": 1881}, "here", "copy it")


def test_the_help_tells_each_set_with_its_source_and_licence() -> None:
    pytest.importorskip("open_clip")
    text = overview("About.\n\nMore.", "  key=")
    for name in catalogue.names():
        line = next(line for line in text.splitlines() if line.startswith(f"  {name} "))
        assert catalogue.find(name).licence in line
    assert "torchvision's Food101, hub:ethz/food101, class folders" in text
    for name in catalogue.collections():
        assert f"  {name:<16} {', '.join(catalogue.collection(name))}" in text.splitlines()
    assert "113 classes that ImageNet has as well" in facts_of(catalogue.find("objectnet"))


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the folder of a catalogue that may be changed, until its files are first read."""
    caches = (catalogue._read, catalogue._files, catalogue._collections)
    folder = tmp_path / "catalogue"
    shutil.copytree(str(catalogue._folder()), folder)
    monkeypatch.setattr(catalogue, "_folder", lambda: folder)
    for one in caches:
        one.cache_clear()
    yield folder
    for one in caches:
        one.cache_clear()


GOOD = """title = "EuroSAT"
kind = "classification"
classes = 10
metric = "acc1"
templates = ["a satellite photo of {a} {c}."]
licence = "MIT"
homepage = "https://github.com/phelber/EuroSAT"
reference = "Helber et al., 2019"
[splits]
train = [16200, 21600]
test = 5400
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('licence = "MIT"', "", "no licence; a data set needs title, kind,"),
        ('licence = "MIT"', "licence = 3", "licence = 3: must be a text"),
        (
            'licence = "MIT"',
            'licence = "MIT"\nlisence = "x"',
            r"unknown key 'lisence' \(did you mean 'licence'\?\); valid",
        ),
        ('licence = "MIT"', 'licence = "MIT"\nname = "x"', "unknown key 'name'"),
        ('title = "EuroSAT"', "title = EuroSAT", r"no TOML \(.*line 1"),
        ('"acc1"', '"accuracy"', "metric = 'accuracy'.*valid for classification are acc1, mean_per_class_recall"),
        ('"classification"', '"retrieval"', "metric = 'acc1'.*valid for retrieval are recall@5"),
        ('"classification"', '"classes"', "kind = 'classes': must be classification or retrieval"),
        ("{a} {c}.", "{a} {d}.", r"templates = .*each with {c} where the class name goes"),
        ('["a satellite photo of {a} {c}."]', '"openai8"', "templates = 'openai8': must be openai80 or simple7"),
        ("test = 5400", "tset = 5400", r"splits = .*of train, val, test, test among them"),
        ("test = 5400", "test = 5400\ntset = 1", "splits = "),
        ("test = 5400", 'test = "many"', "splits = "),
        ("test = 5400", "test = 5400\n[captions]\ntset = 3", r"captions\.tset: there is no such split"),
        ("classes = 10", "classes = true", "classes = True: must be a whole number"),
        ("classes = 10", "", "no classes; a classification set has a number of them"),
        ("classes = 10", 'classes = 10\nnames = ["a"]', "names: 1 of them for 10 classes"),
        ("classes = 10", 'classes = 10\nclass_folders = "flat"', "class_folders = 'flat': must be one of name, letter"),
    ],
)
def test_a_file_that_cannot_be_is_named_with_what_is_valid_and_the_others_work(
    own: Path, old: str, new: str, message: str
) -> None:
    assert old in GOOD
    (own / "eurosat.toml").write_text(GOOD.replace(old, new, 1))
    with pytest.raises(EvalError, match=rf"catalogue/eurosat\.toml: {message}"):
        catalogue.find("eurosat")
    assert catalogue.find("cifar10").classes == catalogue.find("vtab/cifar10").classes == 10
    with pytest.raises(EvalError, match=r"no such data set in the catalogue; valid are .*eurosat.*left out: .*eurosat"):
        catalogue.find("nowhere")
    line = next(line for line in overview("A.\n\nB.", "").splitlines() if line.startswith("  eurosat "))
    assert "cannot be used: " in line and "eurosat.toml" in line


def test_a_file_that_is_put_there_is_found(own: Path) -> None:
    (own / "eurosat.toml").write_text(GOOD)
    found = catalogue.find("eurosat")
    assert found.splits == {"train": (16200, 21600), "test": (5400,)} and "eurosat" in catalogue.names()
    assert found.templates == ("a satellite photo of a {c}.", "a satellite photo of the {c}.")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('paper = ["cifar11"]\nrobustness = []', r"paper: 'cifar11' \(did you mean 'cifar10'\?\) is no data set"),
        ('paper = "cifar10"\nrobustness = []', "paper = 'cifar10': must be a list"),
        ("paper = []", "no robustness"),
        ("paper = [", "no TOML"),
    ],
)
def test_collections_that_cannot_be_are_named_and_a_data_set_is_found_without_them(
    own: Path, text: str, message: str
) -> None:
    (own / "collections.toml").write_text(text)
    with pytest.raises(EvalError, match=rf"collections\.toml: {message}"):
        catalogue.collections()
    assert catalogue.find("cifar10").classes == 10
