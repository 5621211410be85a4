"""One cell, done: the tasks of `evals` on one model and data set, and the record that is left of it."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.settings import ModelAndData
from synthclip_hpc.config.eval import EvalConfig
from synthclip_hpc.evaluation.cells import splits_of
from synthclip_hpc.evaluation.facts import Facts
from synthclip_hpc.evaluation.models import Model
from synthclip_hpc.evaluation.results import SCHEMA

_OF_EVALS = ("data", "model", "provenance")
"""Parts of a record of `evals` that hold words of the command line, and versions among volatile facts."""


@dataclass(frozen=True)
class Work:
    """What a cell is done with."""

    cell: Mapping[str, Any]
    """As the plan has it."""
    model: Model
    words: tuple[str, str]
    """What `evals` calls the model."""
    folder: Path
    """Of the data set."""
    facts: Facts
    """What is in it, as found now."""
    settings: EvalConfig
    features: Path
    scratch: Path
    """A folder for small files of this attempt; it is there."""
    match_counts: Mapping[str, int] | None = None
    """Training captions that name each class, for `long_tail`; None where they are not known."""

    def given(self) -> dict[str, Any]:
        """Return the options that all tasks share."""
        return {
            "data": str(self.folder),
            "model": self.words[0],
            "pretrained": self.words[1],
            "device": self.settings.device,
            "precision": self.settings.precision,
            "batch_size": self.settings.batch_items,
            "workers": self.settings.loader_workers,
            "cache": str(self.features),
        }


def head_of(work: Work, model: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tells which cell a record is of: equal heads, less names, have equal records.

    `model` is the opened model's identity: `sha256` of the weights, `preprocess` and `tokenizer`.
    """
    cell, settings = work.cell, work.settings
    splits = splits_of(cell["task"])
    return {
        "schema": SCHEMA,
        "model": {
            "name": work.model.name,
            "epoch": work.model.epoch,
            "source": work.model.source,
            "sha256": model["sha256"],
            "tokenizer": model["tokenizer"],
        },
        "preprocess": model["preprocess"],
        "dataset": {
            "name": cell["dataset"],
            "catalogue": cell["catalogue"],
            "split": "test",
            "images": work.facts.images["test"],
            "splits": {name: work.facts.images[name] for name in splits if name in work.facts.images},
            "sha256": work.facts.sha256(splits),
        },
        "task": cell["task"],
        "protocol": _protocol(cell),
        "parameters": {
            **cell["parameters"],
            "device": settings.device,
            "precision": settings.precision,
            "threads": settings.threads,
            "batch_items": settings.batch_items,
        },
        "versions": _versions(),
    }


def record_of(work: Work) -> dict[str, Any]:
    """Do the cell and return all of its record. Raises EvalError, and what the session's look raises."""
    task = work.cell["task"]
    done = _probed(work) if task in ("linear_probe", "few_shot") else _measured(work)
    own = {key: value for key, value in done.items() if key not in _OF_EVALS}
    return own | head_of(work, done["model"])


def _measured(work: Work) -> dict[str, Any]:
    task = importlib.import_module(f"evals.{work.cell['task']}")
    given = work.given()
    if (templates := work.cell["parameters"].get("templates")) is not None:
        given["templates"] = templates if isinstance(templates, str) else _in_file(work.scratch, templates)
    if work.cell["task"] == "long_tail":
        given["counts"] = "none" if work.match_counts is None else _counts_file(work)
    done: dict[str, Any] = task.run(task.Options(**given))
    return done


def _probed(work: Work) -> dict[str, Any]:
    from evals import few_shot, linear_probe
    from evals.arrays import check_arrays
    from evals.extract import split_arrays

    options = ModelAndData(**work.given())
    model, folder, _ = options.opened()
    parameters = work.cell["parameters"]
    how = options.extraction()
    arrays = check_arrays(split_arrays(model, folder, parameters["layer"], how))
    if work.cell["task"] == "linear_probe":
        probe = linear_probe.Options(
            features="",
            protocol=parameters["probe"],
            metric=parameters["metric"],
            device=work.settings.device,
            seed=parameters["seed"],
        )
        done = linear_probe.evaluate(arrays, probe)
    else:
        names = ("episodes", "way", "shot", "queries", "seed")
        done = few_shot.evaluate(arrays, few_shot.Options(features="", **{name: parameters[name] for name in names}))
    return done | {"model": model.identity, "batch_size_used": how.batch_size_used}


def _counts_file(work: Work) -> str:
    path = work.scratch / "counts.json"
    path.write_text(json.dumps(work.match_counts), encoding="utf-8")
    return str(path)


def _in_file(folder: Path, lines: list[str]) -> str:
    path = folder / "templates.txt"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


def _protocol(cell: Mapping[str, Any]) -> str:
    task = importlib.import_module(f"evals.{cell['task']}")
    if cell["task"] == "few_shot":
        told: str = task.protocol(**{name: cell["parameters"][name] for name in ("episodes", "way", "shot", "queries")})
        return told
    found: str = task.PROTOCOLS[cell["parameters"]["probe"]] if cell["task"] == "linear_probe" else task.PROTOCOL
    return found


def _versions() -> dict[str, str]:
    import numpy
    import open_clip
    import torch

    from evals.features import image_versions

    own = {"torch": torch.__version__, "open_clip": open_clip.__version__, "numpy": numpy.__version__}
    return own | image_versions()
