"""Real samples: a data set made from class folders measures as the tar that the images came in."""

from __future__ import annotations

import csv
import json
import shutil
import tarfile
from pathlib import Path

import pytest

from evals import retrieval, zero_shot
from evals.folder import open_folder
from evals.prepare import main
from tests.data import data_folder
from tests.evals import small_world
from tests.evals.source_tools import write_files

pytest.importorskip("torch")
pytest.importorskip("open_clip")
DATA = data_folder()
pytestmark = [pytest.mark.engines, pytest.mark.skipif(not DATA.is_dir(), reason="no real data beside the repository")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(small_world.write_model(tmp_path_factory.mktemp("model") / "export"))


def members(tar: Path) -> dict[str, bytes]:
    with tarfile.open(tar) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def test_cifar_10_made_from_class_folders_measures_as_the_tar_that_was_given(tmp_path: Path, model: str) -> None:
    tar = DATA / "cifar10-3k" / "test-1000.tar"
    names = (DATA / "cifar10-3k" / "classes.txt").read_text().split()
    found = members(tar)
    images = [name for name in found if name.endswith(".jpg")]
    folders = {f"test/{names[int(found[name[:-3] + 'cls'])]}/{name}": found[name] for name in images}
    source = write_files(tmp_path / "source", folders)
    words = ["cifar10", f"root={tmp_path}", f"source={source}", "splits=test", "any_count=true"]
    assert main([*words, "samples_per_shard=300"]) == 0
    made = open_folder(tmp_path / "cifar10")
    assert made.classnames == tuple(names) and len(made.split("test").shards) == 4
    given = tmp_path / "given"
    write_files(given, {"test/nshards.txt": b"1", "test/0.tar": tar.read_bytes()})
    for name in ("classnames.txt", "zeroshot_classification_templates.txt"):
        shutil.copy(made.path / name, given)
    one, two = (
        zero_shot.run(zero_shot.Options(data=str(folder), model=model, workers=0))["metrics"]
        for folder in (given, made.path)
    )
    assert one == pytest.approx(two, abs=1e-9) and 0 < one["acc1"] < one["acc5"] < 1


def test_flickr8k_made_from_a_table_of_captions_can_be_measured(tmp_path: Path, model: str) -> None:
    found = members(DATA / "flickr8k-retrieval" / "flickr8k-retrieval-700.tar")
    rows = [(f"{name[:-5]}.jpg", json.loads(text)["captions"]) for name, text in found.items() if name.endswith("json")]
    folder = write_files(tmp_path / "Images", {name: found[name] for name, _ in rows})
    with (tmp_path / "captions.txt").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "caption"), *((name, one) for name, told in rows for one in told)])
    words = [f"root={tmp_path}", f"source={folder}", f"captions={tmp_path / 'captions.txt'}", "any_count=true"]
    assert main(["flickr8k", *words]) == 0
    split = open_folder(tmp_path / "flickr8k").split("test")
    assert [list(captions) for captions in split.captions] == [
        [" ".join(one.split()) for one in told] for _, told in rows
    ]
    result = retrieval.run(retrieval.Options(data=str(tmp_path / "flickr8k"), model=model, workers=0))
    assert result["data"]["images"] == 700 and result["captions"] == 3500
