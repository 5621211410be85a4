"""Images of an earlier run, taken over where caption, seed and everything that makes them are equal."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from sharding.canonical import canonical_json
from sharding.drift import differences, explain
from sharding.plan import load_plan
from synthclip_hpc.errors import UserError
from synthclip_hpc.paths import path_of
from synthclip_hpc.rendering.drawing import image_seed
from synthclip_hpc.rendering.registry import NOT_OF_THE_IMAGE
from synthclip_hpc.rendering.samples import Item, Made, made_of
from synthclip_hpc.run import Run

if TYPE_CHECKING:
    from synthclip_hpc.dataset.index import DatasetIndex

DATASET = "dataset"


class Taken(NamedTuple):
    """An image that need not be drawn again."""

    made: Made
    jpeg: bytes


class Reuse:
    """The images of a merged run, by caption id; for any number of threads."""

    def __init__(self, index: DatasetIndex, recipe: str, run_seed: int, max_tries: int) -> None:
        """Use `opened`."""
        self._index, self._recipe, self._run_seed, self._max_tries = index, recipe, run_seed, max_tries
        self._lock = threading.Lock()  # the index is for one thread at a time

    @classmethod
    @contextmanager
    def opened(cls, run: str, recipe: str, run_seed: int, max_tries: int) -> Iterator[Self]:
        """Open the data set of the run directory `run`. Raises UserError when there is none."""
        from synthclip_hpc.dataset.index import DatasetIndex

        with DatasetIndex.open(dataset_of(run)) as index:
            yield cls(index, recipe, run_seed, max_tries)

    def take(self, items: Sequence[Item]) -> dict[int, Taken]:
        """Return the images that are there for some of the items, by position.

        An image counts only with the same caption id and text, recipe and seed, when this run would have tried that
        seed, and when its checksum is right. Raises UserError for a tar that is gone or too short.
        """
        with self._lock:
            return self._take(items)

    def _take(self, items: Sequence[Item]) -> dict[int, Taken]:
        numbers = self._index.find([item.caption_id for item in items])
        found = [(item, int(number)) for item, number in zip(items, numbers, strict=True) if number >= 0]
        taken = {}
        for item, number in found:
            if (one := self._read(number, item)) is not None:
                taken[item.position] = one
        return taken

    def _read(self, number: int, item: Item) -> Taken | None:
        """Return sample `number` if it is the item's image; None if it is not, or is damaged."""
        try:
            sample = self._index.read(number)
            record = json.loads(sample.json or b"{}")
        except UserError:
            raise
        except ValueError:  # its text or its record is no text, or no JSON, any more
            return None
        made = made_of(record, sample.image, item, self._recipe)
        if made is None or not 1 <= made.tries <= self._max_tries:
            return None
        is_its_seed = made.seed == image_seed(self._run_seed, item.caption_id, made.tries - 1)
        return Taken(made, sample.image) if is_its_seed else None


def dataset_of(run: str) -> Path:
    """Return the data set's folder of a run directory. Raises UserError when it is not merged."""
    from synthclip_hpc.dataset.columns import INDEX

    folder = path_of("render.reuse", run) / DATASET
    if not (folder / INDEX).is_file():
        raise UserError(
            f"render.reuse={run}: there is no {folder / INDEX}; name the directory of a run that is merged "
            f"(python -m synthclip_hpc.submit stage=merge run={run})"
        )
    return folder


def tell_what_differs(run: str, identity: Mapping[str, Any]) -> None:
    """Say on stderr when no image of a run directory can be taken over, and why: all would be drawn, at full cost.

    `identity` is that of this run's plan of `draw`.
    """
    planned = load_plan(Run(path_of("render.reuse", run)).phase("render", "draw"))
    if planned is None or all(planned.identity.get(key) == identity[key] for key in ("seed", "recipe")):
        return
    passed_over = {"recipe", *NOT_OF_THE_IMAGE}
    theirs, ours = (
        {key: value for key, value in one.items() if key not in passed_over} for one in (planned.identity, identity)
    )
    print(
        f"render.reuse={run}: none of its images can be taken over, all are drawn; they were made with other values:\n"
        f"{explain(differences(theirs, json.loads(canonical_json(ours))))}",
        file=sys.stderr,
    )
