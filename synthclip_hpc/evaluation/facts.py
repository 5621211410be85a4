"""What is in a data set's folder: counts, and hashes of its content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharding.canonical import fingerprint
from synthclip_hpc.remembered import remembered, stamps

_FORM = 2
"""Of what is remembered: to be raised when `Facts` tells other things, or a split is hashed in another way."""


@dataclass(frozen=True)
class Facts:
    """What is in a folder in CLIP_benchmark's layout."""

    retrieval: bool
    classes: int
    """Number of classes; 0 for retrieval."""
    images: dict[str, int]
    """By split."""
    captions: dict[str, int]
    """By split; empty for classification."""
    keys: dict[str, str]
    """Hash of the content, by split."""
    texts: str
    """Hash of class names and templates."""
    least: dict[str, int]
    """Images of the class that has the fewest, by split; of a retrieval set captions of an image."""
    most: dict[str, int]
    """Those of the one that has the most."""

    def sha256(self, splits: tuple[str, ...]) -> str:
        """Return the hash of what a task with these splits reads; splits that are not there do not count."""
        return fingerprint(
            {"splits": {name: self.keys[name] for name in splits if name in self.keys}, "texts": self.texts}
        )


def facts_of(folder: Path) -> Facts:
    """Look at a folder, or remember what was found when its files were the same. Raises EvalError."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".tar", ".txt") and path.is_file())
    found = remembered("evaluation-data", {"form": _FORM, "files": stamps(files)}, lambda: _look(folder))
    return Facts(**found)


def _look(folder: Path) -> dict[str, Any]:
    from evals.folder import SPLITS, open_folder

    data = open_folder(folder)
    images, captions, keys = {}, {}, {}
    least, most = {}, {}
    for name in (split for split in SPLITS if data.has(split)):
        split = data.split(name)
        counts: Sequence[int]
        if data.retrieval:
            counts = [len(told) for told in split.captions]
            captions[name] = sum(counts)
        else:
            data.check_labels(split)
            counts = [0] * len(data.classnames)
            for label in split.labels.tolist():
                counts[label] += 1
        images[name], keys[name] = len(split.images), split.key
        least[name], most[name] = min(counts), max(counts)
    return {
        "retrieval": data.retrieval,
        "classes": 0 if data.retrieval else len(data.classnames),
        "images": images,
        "captions": captions,
        "keys": keys,
        "texts": data.text_key,
        "least": least,
        "most": most,
    }
