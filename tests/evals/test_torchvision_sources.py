"""Data sets as torchvision lays them out: files are copied, arrays become PNGs."""

from __future__ import annotations

import hashlib
import io
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from evals.catalogue import find
from evals.errors import EvalError
from evals.prepare import main
from evals.sources import torchvision_sets
from evals.sources.class_names import prompt_names
from evals.sources.samples import image_file
from tests.evals.source_tools import class_folders, image, images_of, opened, told, write_files

pytest.importorskip("PIL")


def test_torchvisions_files_are_copied_as_they_are(tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    files = {f"dtd/dtd/images/{name}": content for name, content in class_folders(3, ("banded", "zigzagged")).items()}
    for number, split in enumerate(("train", "val", "test")):
        lines = f"zigzagged/{number}.png\nbanded/{number}.png\n"
        files[f"dtd/dtd/labels/{split}1.txt"] = lines.encode()
    source = opened("dtd", write_files(tmp_path, files))
    assert source.kind == torchvision_sets.KIND and source.classes == ("banded", "zigzagged")
    assert told(source) == {
        split: [(1, image(3 + number)), (0, image(number))] for number, split in enumerate(("train", "val", "test"))
    }


def test_pets_food_and_aircraft_are_read_as_torchvision_lays_them_out(tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    pets = {f"oxford-iiit-pet/images/{name}.jpg": image(n) for n, name in enumerate(("Maine_Coon_1", "pug_7", "pug_8"))}
    pets["oxford-iiit-pet/annotations/trainval.txt"] = b"Maine_Coon_1 1 1 1\npug_7 2 2 1\n"
    pets["oxford-iiit-pet/annotations/test.txt"] = b"pug_8 2 2 1\nMaine_Coon_1 1 1 1\n"
    source = opened("pets", write_files(tmp_path / "pets", pets))
    assert told(source) == {"train": [(0, image(0)), (1, image(1))], "test": [(1, image(2)), (0, image(0))]}
    assert prompt_names(find("pets"), source.classes) == ["Maine Coon", "Pug"]

    food: dict[str, bytes] = {f"food-101/images/{c}/{n}.jpg": image(n) for n, c in enumerate(("apple_pie", "baklava"))}
    food |= {
        f"food-101/meta/{split}.json": b'{"baklava":["baklava/1"],"apple_pie":["apple_pie/0"]}'
        for split in ("train", "test")
    }
    source = opened("food101", write_files(tmp_path / "food", food))
    assert told(source)["test"] == [(1, image(1)), (0, image(0))]
    assert prompt_names(find("food101"), source.classes) == ["apple pie", "baklava"]

    planes = {f"fgvc-aircraft-2013b/data/images/00{n}.jpg": image(n) for n in range(2)}
    planes["fgvc-aircraft-2013b/data/variants.txt"] = b"707-320\nA300B4\n"
    planes |= {
        f"fgvc-aircraft-2013b/data/images_variant_{split}.txt": b"001 A300B4\n000 707-320\n"
        for split in ("train", "val", "test")
    }
    source = opened("fgvc_aircraft", write_files(tmp_path / "planes", planes))
    assert told(source)["val"] == [(1, image(1)), (0, image(0))] and source.classes == ("707-320", "A300B4")


def test_cifars_arrays_become_pngs_without_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torchvision = pytest.importorskip("torchvision")
    from PIL import Image

    pixels = np.random.default_rng(1).integers(0, 256, (4, 3, 32, 32)).astype(np.uint8)
    batch = {"data": pixels.reshape(4, -1), "labels": [1, 0, 1, 1]}
    folder = tmp_path / "cifar-10-batches-py"
    contents = {"one": batch, "batches.meta": {"label_names": ["plane", "car"]}}
    write_files(folder, {name: pickle.dumps(content) for name, content in contents.items()})
    sums = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in contents}
    kind = torchvision.datasets.CIFAR10
    for attribute in ("train_list", "test_list"):
        monkeypatch.setattr(kind, attribute, [["one", sums["one"]]])
    monkeypatch.setattr(kind, "meta", {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]})
    source = opened("cifar10", tmp_path)
    for number, sample in enumerate(source.splits["test"]):
        assert image_file(sample)[0] == "png"
        assert np.array_equal(
            np.asarray(Image.open(io.BytesIO(image_file(sample)[1]))), pixels[number].transpose(1, 2, 0)
        )
    assert [sample.label for sample in source.splits["train"]] == [1, 0, 1, 1] and source.classes == ("plane", "car")
    (folder / "one").write_bytes(b"cut off")
    with pytest.raises(EvalError, match=r"torchvision cannot read cifar10 there .*download=true"):
        opened("cifar10", tmp_path)


def test_without_torchvision_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(EvalError, match=r"is not installed; pip install 'synthclip-hpc\[train\]'"):
        opened("cifar10", tmp_path)


def test_only_download_true_lets_torchvision_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = pytest.importorskip("torchvision").datasets.DTD
    names = [f"kind{number:02d}/0.png" for number in range(47)]
    files = {f"dtd/dtd/images/{name}": image(number) for number, name in enumerate(names)}
    files |= {f"dtd/dtd/labels/{split}1.txt": "\n".join(names).encode() for split in ("train", "val", "test")}
    monkeypatch.setattr(kind, "_download", lambda self: write_files(Path(self.root), files) and None)
    words = ["dtd", f"root={tmp_path / 'root'}", f"source={tmp_path / 'dtd'}", "any_count=true"]
    with pytest.raises(EvalError, match="there is nothing there"):
        main(words)
    assert main([*words, "download=true"]) == 0
    assert images_of(tmp_path / "root" / "dtd", "val") == [image(number) for number in range(47)]


def test_a_package_that_torchvision_needs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = pytest.importorskip("torchvision").datasets.Flowers102
    monkeypatch.setattr(kind, "_check_integrity", lambda self: True)
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    (tmp_path / "flowers-102").mkdir()
    with pytest.raises(EvalError, match="to read flowers torchvision needs scipy"):
        opened("flowers", tmp_path)
