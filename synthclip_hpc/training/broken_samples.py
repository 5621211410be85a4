"""The samples that one rank could not use, by name, in a file of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from sharding.canonical import canonical_json
from sharding.files import replace_file
from synthclip_hpc.training.data.loader import Batch
from synthclip_hpc.training.data.training_data import TrainingData


class BrokenSamples:
    """A list of [number in the data set, name, reason], written anew with each that is found: there are few."""

    def __init__(self, path: Path, data: TrainingData) -> None:
        self._path, self._data = path, data
        self._found: dict[int, tuple[int, str, str]] = {}

    def add(self, batch: Batch) -> None:
        """Take note of a batch's broken samples; each is told once."""
        new = [one for one in batch.broken if one.number not in self._found]
        for one in new:
            name = self._data.key(one.number)
            self._found[one.number] = (one.number, name, one.reason)
            print(f"broken sample {name}: {one.reason}; another stands in for it", file=sys.stderr, flush=True)
        if new:
            self._write()

    def _write(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._path, canonical_json([list(found) for found in self._found.values()]))
        except OSError as error:  # a full disk is no reason to stop training
            print(f"broken samples {self._path}: {error}; training goes on", file=sys.stderr, flush=True)
