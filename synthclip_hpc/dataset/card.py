"""The data card: `README.md` of the data set, which people read and `datasets.load_dataset` takes its settings from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synthclip_hpc.dataset.columns import SHARDS, tar_name

_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
_LARGEST = "10M<n<100M"
FOREIGN = "other"


@dataclass(frozen=True)
class SourceFacts:
    """What one source puts in."""

    name: str
    samples: int
    first_tar: int | None
    """None where its samples are spread over tars that others share."""
    num_tars: int
    rejects: Mapping[str, int]
    """Reason -> items that became no sample."""
    cap: int | None = None


@dataclass(frozen=True)
class CardFacts:
    """All that the card tells; it tells nothing that changes with time or place."""

    sources: Sequence[SourceFacts]
    num_tars: int
    image_record: Mapping[str, Any]
    """The record of the first image; facts that all images share are taken from it. Empty when there is none."""
    settings: Mapping[str, Any]
    """Key of the configuration -> value, of those that made captions and images."""
    licence: str
    """Identifier as dataset hubs write it, such as `cc-by-4.0`."""
    licence_text: str
    coverage: Mapping[str, Any] | None = None
    """`sets.after` of the report of balancing."""

    @property
    def num_samples(self) -> int:
        return sum(source.samples for source in self.sources)


def write_card(facts: CardFacts) -> bytes:
    """Return the card: a YAML header, then Markdown."""
    sections = (_header, _what, _counts, _making, _coverage, _licence, _loading)
    return "\n".join(text for section in sections if (text := section(facts))).encode()


def _header(facts: CardFacts) -> str:
    size = next((name for limit, name in _SIZES if facts.num_samples < limit), _LARGEST)
    return (
        "---\n"
        f"license: {facts.licence}\n"
        "task_categories:\n- image-to-text\n- text-to-image\n- zero-shot-image-classification\n"
        "language:\n- en\n"
        "tags:\n- synthetic\n- clip\n- webdataset\n"
        f"size_categories:\n- {size}\n"
        "configs:\n"
        "- config_name: default\n"
        "  data_files:\n"
        "  - split: train\n"
        f"    path: {SHARDS}/*.tar\n"
        "---\n"
    )


def _what(facts: CardFacts) -> str:
    return (
        "# Synthetic images with captions\n\n"
        "Made with synthclip-hpc: a language model or templates write captions for a bank of concepts, the captions\n"
        "are balanced over the concepts, a text-to-image renderer draws them.\n\n"
        f"{facts.num_samples:,} samples in {facts.num_tars:,} WebDataset tars. `contact-sheet.png` shows up to 64,\n"
        "spread evenly. `index.parquet` has a row a sample: where its parts lie in which tar, its caption's id, seed\n"
        "and recipe. `sha256sum -c checksums.sha256` checks all files.\n"
    )


def _counts(facts: CardFacts) -> str:
    lines = ["## What is in it\n", "| source | samples | left out | tars |", "| --- | --- | --- | --- |"]
    for one in facts.sources:
        tars = "together with others"
        if one.first_tar is not None and one.num_tars:
            tars = f"{tar_name(one.first_tar)} to {tar_name(one.first_tar + one.num_tars - 1)}"
        capped = f" (the first of it, at most {one.cap:,})" if one.cap is not None else ""
        name, left_out = _cell(one.name), sum(one.rejects.values())
        lines.append(f"| {name}{capped} | {one.samples:,} | {left_out:,} | {tars if one.num_tars else 'none'} |")
    lines.append("")
    if any(one.cap is not None and one.first_tar is not None for one in facts.sources):
        lines.append(
            "A tar in which a cap is reached is here as a whole: the index stops there, `sizes.json` does not.\n"
        )
    rejects = [(one.name, reason, number) for one in facts.sources for reason, number in sorted(one.rejects.items())]
    if rejects:
        lines += ["Left out, with the reason (one by one in `rejects.parquet`):\n"]
        lines += ["| source | reason | items |", "| --- | --- | --- |"]
        lines += [f"| {_cell(name)} | {_cell(reason)} | {number:,} |" for name, reason, number in rejects]
        lines.append("")
    else:
        lines += ["Nothing was left out.", ""]
    return "\n".join(lines)


def _making(facts: CardFacts) -> str:
    shared = ("renderer", "model", "revision", "steps", "guidance", "recipe")
    rows = [(key, facts.image_record[key]) for key in shared if facts.image_record.get(key) not in (None, "")]
    lines = ["## How it was made\n", "| what | value |", "| --- | --- |"]
    lines += [f"| {key} | {_cell(value)} |" for key, value in (*rows, *facts.settings.items()) if value is not None]
    lines.append(
        "\nThe seed of each image is in its record; with the recipe (a hash of all that makes an image but caption and"
    )
    lines.append("seed) it tells whether an image can be taken over or has to be drawn anew.\n")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return " ".join(text.split()).replace("|", "\\|")


def _coverage(facts: CardFacts) -> str:
    if not facts.coverage:
        return ""
    found = facts.coverage
    lines = ["## Concepts\n", "Of the balanced captions, before images were rejected:\n"]
    for seen in found["seen"]:
        told = f"{seen['concepts']:,} of {found['concepts']:,} concepts"
        lines.append(f"- {told} are named {seen['times']:,} times or more")
    lines.append(f"- {found['matches']:,} mentions; entropy over concepts {found['entropy_bits']:.3f} bits")
    lines.append("")
    return "\n".join(lines)


def _licence(facts: CardFacts) -> str:
    return f"## Licence and attribution\n\n{facts.licence_text}\n"


def _loading(facts: CardFacts) -> str:
    last = max(facts.num_tars - 1, 0)
    shards = f"dataset/{SHARDS}/{{{tar_name(0)[:-4]}..{tar_name(last)[:-4]}}}.tar"
    return f"""## Loading it

`dataset` is this folder.

With `datasets`:

```python
from datasets import load_dataset

pairs = load_dataset("dataset", split="train", streaming=True)
first = next(iter(pairs))
image, caption = first["jpg"], first["txt"]
```

With `webdataset`:

```python
import webdataset

pairs = webdataset.WebDataset("{shards}", shardshuffle=False).to_tuple("jpg", "txt")
for image, caption in pairs:
    assert image and caption
```

With open_clip:

```bash
python -m open_clip_train.main --dataset-type webdataset --train-data '{shards}' --train-num-samples {facts.num_samples}
```

```python
from open_clip_train.data import get_dataset_size

num_samples, num_shards = get_dataset_size("{shards}")
```

Any sample at once, with synthclip-hpc:

```python
from synthclip_hpc.dataset.index import DatasetIndex

with DatasetIndex.open("dataset") as index:
    last = index.read(len(index) - 1)
```
"""
