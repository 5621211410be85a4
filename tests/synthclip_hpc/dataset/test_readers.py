"""Every reader finds the same samples in the data set: webdataset, datasets, open_clip, GNU tar, the own index."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from synthclip_hpc.dataset.index import DatasetIndex
from tests.synthclip_hpc.dataset.rendered import balanced, merge, render

pytestmark = [pytest.mark.usefixtures("at_once"), pytest.mark.engines]
Pairs = list[tuple[str, bytes, str]]


@pytest.fixture
def folder(app, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf-cache")
    monkeypatch.chdir(app.path.parent)
    balanced(app)
    render(app, frozenset({0, 5, 11}))
    merge(app)
    return app.path / "dataset"


def by_index(folder: Path) -> Pairs:
    with DatasetIndex.open(folder) as index:
        return [(one.key, one.image, one.txt) for one in map(index.read, range(len(index)))]


def by_webdataset(folder: Path) -> Pairs:
    import webdataset

    found = webdataset.WebDataset(str(folder / "shards/{00000..00004}.tar"), shardshuffle=False)
    return [(one["__key__"], one["jpg"], one["txt"].decode()) for one in found]


def by_datasets(folder: Path, *words: str, **options: object) -> Pairs:
    from datasets import Image, load_dataset  # type: ignore[import-untyped]

    found = load_dataset(*words, split="train", **options).cast_column("jpg", Image(decode=False))  # type: ignore[arg-type]
    return [(one["__key__"], one["jpg"]["bytes"], one["txt"]) for one in found]


def by_open_clip(folder: Path) -> Pairs:
    import webdataset
    from open_clip_train.data import filter_no_caption_or_no_image, get_dataset_size, log_and_continue  # type: ignore[import-untyped]

    shards = str(folder / "shards/{00000..00004}.tar")
    assert get_dataset_size(shards) == (44, 5)
    # The stages of `get_wds_dataset` less its shuffling, and with webdataset's own grouping: the one of open_clip needs
    # a webdataset of before 1.0.
    pipeline = webdataset.DataPipeline(
        webdataset.SimpleShardList(shards),
        webdataset.tarfile_to_samples(handler=log_and_continue),
        webdataset.select(filter_no_caption_or_no_image),
        webdataset.rename(image="jpg;png;jpeg;webp", text="txt"),
        webdataset.to_tuple("__key__", "image", "text"),
    )
    return [(key, image, text.decode()) for key, image, text in pipeline]


def by_gnu_tar(folder: Path, into: Path) -> Pairs:
    found: Pairs = []
    for path in sorted((folder / "shards").glob("*.tar")):
        target = into / path.stem
        target.mkdir(parents=True)
        subprocess.run(["tar", "xf", str(path), "-C", str(target)], check=True)
        for image in sorted(target.glob("*.jpg")):
            found.append((image.stem, image.read_bytes(), image.with_suffix(".txt").read_text()))
    return found


def test_all_readers_give_the_same_samples(folder, tmp_path):
    wanted = by_index(folder)
    assert len(wanted) == 44
    assert by_webdataset(folder) == wanted
    assert by_datasets(folder, "webdataset", data_files=str(folder / "shards/*.tar")) == wanted
    assert by_datasets(folder, str(folder)) == wanted
    assert by_open_clip(folder) == wanted
    assert by_gnu_tar(folder, tmp_path / "unpacked") == wanted


def test_the_code_of_the_card_runs_and_finds_all(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    card = (folder / "README.md").read_text()
    snippets = re.findall(r"```python\n(.*?)```", card, re.S)
    assert len(snippets) == 4
    names: dict[str, object] = {}
    for snippet in snippets:
        exec(compile(snippet, "card", "exec"), names)
    wanted = by_index(folder)
    assert names["caption"] == wanted[-1][2].encode()  # webdataset's, the last one
    assert names["first"]["__key__"] == wanted[0][0]  # type: ignore[index]
    assert (names["num_samples"], names["num_shards"]) == (44, 5)
    assert names["last"].image == wanted[-1][1]  # type: ignore[attr-defined]
    (command,) = re.findall(r"```bash\n(.*?)```", card, re.S)
    assert "--train-num-samples 44" in command
    assert "00000..00004" in command


def test_the_head_of_the_card_is_what_hubs_read(folder):
    import yaml  # type: ignore[import-untyped]

    card = (folder / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["license"] == "cc-by-4.0"
    assert head["size_categories"] == ["n<1K"]
    assert head["configs"] == [{"config_name": "default", "data_files": [{"split": "train", "path": "shards/*.tar"}]}]
    for told in (
        "Twemoji",
        "| render | unsafe | 3 |",
        "| render | 44 | 3 | 00000.tar to 00004.tar |",
        "twemoji-2.0.0",
        "bits",
    ):
        assert told in card, told
    assert json.loads((folder / "shards/sizes.json").read_text())["00000.tar"] == 8
