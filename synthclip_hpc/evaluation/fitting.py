"""Which tasks fit a data set, and what a user is told of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from synthclip_hpc.config.eval import EvalConfig
from synthclip_hpc.evaluation.data_sets import DataSet
from synthclip_hpc.evaluation.facts import Facts

LONG_TAIL = "long_tail"
WAY, SHOT = 5, 5
"""Classes of an episode, and images of each that it learns from."""
_TO_HOLD_OUT = 5
"""Images of a class of which `evals.linear_probe` holds one out, where there is no val."""
_RETRIEVAL = "-retrieval"
"""How the names of built-in sets for retrieval end."""
_READ = {"linear_probe": ("train", "val", "test"), "few_shot": ("train", "test")}
"""Task -> the splits that its figures follow from; of the others test alone."""

_LEFT_OUT = {
    "captions": "captions and no classes",
    "classes": "classes and no captions",
    "not_long_tail": "only the data set long_tail is for this task",
    "long_tail": "for the task long_tail",
    "no_train": "there is no split called train",
    "few_classes": f"fewer than {WAY} classes",
    "one_class": "only one class",
    "empty_class": "a class has no image in train",
    "few_images": f"a class has fewer than {SHOT} images in train",
    "nothing_to_hold_out": f"no val, and no class has {_TO_HOLD_OUT} images in train, of which one could be held out",
    "few_glyphs": f"eval.glyph_images is below {SHOT}",
}
_OF_KIND = {"captions", "classes", "not_long_tail", "long_tail"}
"""What nobody expects anyway."""
_OTHER_SPLITS = "other_splits"
_TEXTS = {
    **{reason: f"left out: {{cells}}: {text}" for reason, text in _LEFT_OUT.items()},
    _OTHER_SPLITS: (
        "not to be compared with the paper: {cells}: the folder's splits (train, val) are others than the catalogue's"
    ),
}


@dataclass(frozen=True)
class Remark:
    """What is to be said of a task on a data set."""

    dataset: str
    task: str
    reason: str
    """A word that `lines_of` has a text for; texts may change, and plans hold the word."""

    def to_json(self) -> dict[str, Any]:
        """Return what the plan keeps."""
        return asdict(self)


def misfit(settings: EvalConfig, task: str, one: DataSet, facts: Facts | None) -> str | None:
    """Return why a task cannot be done on a data set, a word for a `Remark`; None when it can.

    `facts` are None for a built-in set, which is not made yet.
    """
    if reason := _other_kind(task, one, facts):
        return reason
    if task not in _READ:
        return None
    if facts is None:
        return None if settings.glyph_images >= SHOT else "few_glyphs"  # of which the probe holds a fifth out
    if "train" not in facts.images:
        return "no_train"
    return _too_few_shots(facts) if task == "few_shot" else _too_few_to_probe(settings, facts)


def catalogued(task: str, one: DataSet, facts: Facts | None) -> str | None:
    """Return the catalogue's name of a data set, if what the task reads has been found to be what the catalogue says.

    None for built-in sets, and for folders that are given by their path, whatever they are called.
    """
    if one.info is None or facts is None or not one.has_catalogued(facts, _READ.get(task, ("test",))):
        return None
    return one.info.name


def remark_on(task: str, one: DataSet, facts: Facts | None) -> Remark | None:
    """Return what is to be said of a task that fits."""
    if one.info is None or catalogued(task, one, facts) is not None:
        return None
    return Remark(one.name, task, _OTHER_SPLITS)


def lines_of(remarks: Sequence[Mapping[str, str]]) -> list[str]:
    """Return what a user reads, one line for all data sets and tasks of a kind. `remarks` are as a plan has them."""
    tasks: dict[tuple[str, str], list[str]] = {}
    for one in remarks:
        tasks.setdefault((one["reason"], one["dataset"]), []).append(one["task"])
    sets: dict[tuple[str, str], list[str]] = {}
    for (reason, dataset), names in tasks.items():
        sets.setdefault((reason, ", ".join(names)), []).append(dataset)
    return [
        _TEXTS[reason].format(cells=f"{names} on {', '.join(datasets)}") for (reason, names), datasets in sets.items()
    ]


def worth_telling(remarks: Sequence[Mapping[str, str]], cells: Sequence[Mapping[str, Any]]) -> list[Mapping[str, str]]:
    """Leave out that retrieval wants captions and zero-shot classes, unless a data set or a task gets no cell."""
    used = {cell[key] for cell in cells for key in ("dataset", "task")}
    return [one for one in remarks if one["reason"] not in _OF_KIND or not {one["dataset"], one["task"]} <= used]


def _other_kind(task: str, one: DataSet, facts: Facts | None) -> str | None:
    retrieval = one.name.endswith(_RETRIEVAL) if facts is None else facts.retrieval
    if (task == "retrieval") != retrieval:
        return "captions" if retrieval else "classes"
    if (task == LONG_TAIL) != (one.name == LONG_TAIL) and not retrieval:
        return "not_long_tail" if task == LONG_TAIL else "long_tail"
    return None


def _too_few_shots(facts: Facts) -> str | None:
    if facts.classes < WAY:
        return "few_classes"
    return None if facts.least["train"] >= SHOT else "few_images"


def _too_few_to_probe(settings: EvalConfig, facts: Facts) -> str | None:
    if facts.classes == 1:
        return "one_class"
    if not facts.least["train"]:
        return "empty_class"
    holds_out = "val" not in facts.images and settings.probe != "clip_benchmark"
    return "nothing_to_hold_out" if holds_out and facts.most["train"] < _TO_HOLD_OUT else None
