"""What the pictures of a glyph test set show: one emoji for classification, or what five captions say for retrieval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sharding.ids import derive, item_id
from synthclip_hpc.rendering.glyphs.scene import Scene, plan_scene
from synthclip_hpc.rendering.glyphs.wording import BACKGROUNDS, Wording

ON_COLOUR = (
    "{concept} on {colour}",
    "a {concept} on {colour}",
    "{concept} icon on {colour}",
    "{concept} on a {colour} background",
    "{concept} against {colour}",
)
"""Captions of a picture of one emoji."""
PAIRED = (
    "{concept} and {other}",
    "a {concept} and a {other}",
    "{concept} with {other}",
    "{other} and {concept}",
    "{concept} next to {other}",
)
"""Captions of a picture of two."""
_REDRAWN = 0.0


class EvaluationScene(NamedTuple):
    """A picture of a test set before it is composed."""

    scene: Scene
    label: int
    """Class number."""
    captions: tuple[str, ...]
    """Empty in a classification set."""


def classified(seed: int, concept: str, label: int) -> EvaluationScene:
    """Return a scene with one emoji: any background, place, size, turn and flip that images of a data set may have."""
    return EvaluationScene(plan_scene(seed, [concept], Wording(), _REDRAWN), label, ())


def described(seed: int, class_seed: int, number: int, classes: Sequence[str], label: int) -> EvaluationScene:
    """Return scene `number`, from 0, of a class: even ones show it alone on a colour, odd ones beside another class.

    Up to 22 scenes of a class no colour comes twice, and up to twice the number of classes no company does, so that
    captions tell pictures apart. Which colours and classes they are follows from `class_seed`.
    """
    concept, place = classes[label], number // 2
    if number % 2:
        others = _shuffled([other for other in classes if other != concept], class_seed)
        words = {"concept": concept, "other": others[place % len(others)]}
        scene = plan_scene(seed, [concept, words["other"]], Wording(), _REDRAWN)
        return EvaluationScene(scene, label, tuple(form.format(**words) for form in PAIRED))
    colours = _shuffled(list(BACKGROUNDS), class_seed)
    words = {"concept": concept, "colour": colours[place % len(colours)]}
    scene = plan_scene(seed, [concept], Wording(background=words["colour"]), _REDRAWN)
    return EvaluationScene(scene, label, tuple(form.format(**words) for form in ON_COLOUR))


def _shuffled(words: Sequence[str], seed: int) -> list[str]:
    return sorted(words, key=lambda word: derive(seed, item_id(word), "glyph-evaluation-order"))
