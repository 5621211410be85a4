"""Captions from Karpathy's JSON and from tables, each with its image."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from evals.errors import EvalError
from evals.sources.samples import Source, image_file
from tests.evals.source_tools import image, opened, write_files, write_zip

pytest.importorskip("PIL")


def _captions(source: Source) -> dict[str, list[tuple[bytes, tuple[str, ...] | None]]]:
    return {split: [(image_file(one)[1], one.captions) for one in found] for split, found in source.splits.items()}


def test_karpathys_json_gives_images_of_a_split_with_all_captions(tmp_path: Path) -> None:
    entries = [
        {
            "filepath": "val2014",
            "filename": "b.png",
            "split": "test",
            "sentences": [{"raw": "one\ntwo"}, {"raw": "three"}],
        },
        {"filepath": "val2014", "filename": "a.png", "split": "test", "sentences": [{"raw": " four "}]},
        {"filepath": "val2014", "filename": "c.png", "split": "restval", "sentences": [{"raw": "five"}]},
    ]
    path = tmp_path / "dataset_coco.json"
    path.write_text(json.dumps({"images": entries}))
    files = {f"val2014/{name}.png": image(n) for n, name in enumerate("abc")}
    expected = {"test": [(image(1), ("one\ntwo", "three")), (image(0), (" four ",))]}
    for source in (write_files(tmp_path / "images", files), write_zip(tmp_path / "images.zip", files)):
        assert _captions(opened("mscoco_captions", source, str(path))) == expected
    assert _captions(opened("mscoco_captions", tmp_path / "images" / "val2014", str(path))) == expected


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_a_table_gives_captions_in_its_order(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "captions.txt"
    with path.open("w", newline="") as file:
        rows = csv.writer(file, delimiter=delimiter)
        rows.writerows([("image", "caption"), ("b.png", "A dog, running"), ("a.png", "x"), ("b.png", 'It\'s "it"')])
    folder = write_files(tmp_path / "Images", {"a.png": image(1), "b.png": image(2)})
    assert _captions(opened("flickr8k", folder, str(path))) == {
        "test": [(image(2), ("A dog, running", 'It\'s "it"')), (image(1), ("x",))]
    }
    (folder / "a.png").unlink()
    with pytest.raises(EvalError, match=r"no image a\.png, which captions\.txt has captions of"):
        opened("flickr8k", folder, str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"picture,text\na.png,x\n", "neither Karpathy's JSON"),
        (b"\xff\xfe", "no UTF-8 text"),
        (b"image,caption\n../secret.png,x\n", r"no image \.\./secret\.png"),
    ],
)
def test_a_wrong_table_of_captions_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    write_files(tmp_path, {"captions.csv": content, "secret.png": image(1), "Images/a.png": image(2)})
    with pytest.raises(EvalError, match=message):
        opened("flickr8k", tmp_path / "Images", str(tmp_path / "captions.csv"))
