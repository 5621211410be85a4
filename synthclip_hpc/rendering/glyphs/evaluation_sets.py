"""Test sets of emoji pictures, in either style of artwork, as folders in CLIP_benchmark's layout (`evals.folder`).

The classes are the 100 of the emoji bank's column `demo`, in the bank's order. Pictures show the artwork as it is, in
scenes such as the renderer composes: never those of a training set, as the seeds here have a bit that images' never do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharding.canonical import fingerprint
from sharding.files import make_directory, write_file
from sharding.ids import derive, item_id
from sharding.ustar import END, members
from synthclip_hpc.config.render import RenderConfig
from synthclip_hpc.errors import UserError, nearest
from synthclip_hpc.rendering.glyphs.evaluation_readme import readme
from synthclip_hpc.rendering.glyphs.evaluation_scenes import EvaluationScene, classified, described
from synthclip_hpc.rendering.glyphs.named import read_demo_classes, read_emoji
from synthclip_hpc.rendering.glyphs.preflight import preflight
from synthclip_hpc.rendering.glyphs.recipe import RECIPE, raster_size
from synthclip_hpc.rendering.glyphs.styles import Artwork
from synthclip_hpc.rendering.jpeg import jpeg_encoder

if TYPE_CHECKING:
    from synthclip_hpc.rendering.glyphs.raster import Pixels

TEMPLATES = ("{c}", "a {c}", "{c} icon")
"""Prompts of zero-shot classification."""
_PURPOSE = "glyph-evaluation"
_APART = 1 << 63
"""Set in every seed here; seeds of a data set's images are below it (`drawing.image_seed`)."""


@dataclass(frozen=True)
class GlyphSet:
    """One of the built-in sets."""

    name: str
    style: str
    retrieval: bool

    @property
    def splits(self) -> tuple[str, ...]:
        """Linear probe and few-shot learn from `train`, which retrieval has no use for."""
        return ("test",) if self.retrieval else ("train", "test")


GLYPH_SETS = {
    one.name: one
    for one in (
        GlyphSet("glyphs-twemoji", "twemoji", retrieval=False),
        GlyphSet("glyphs-openmoji", "openmoji", retrieval=False),
        GlyphSet("glyphs-twemoji-retrieval", "twemoji", retrieval=True),
        GlyphSet("glyphs-openmoji-retrieval", "openmoji", retrieval=True),
    )
}


def write_glyph_set(folder: Path, name: str, *, seed: int, images_per_class: int, size: int) -> dict[str, Any]:
    """Write a set into `folder`, which is new or empty, and return what it is: JSON values, the same for equal bytes.

    `images_per_class` is that of each split; a retrieval set has half as many, rounded up, and five captions a picture.
    `size`: width and height of the pictures in pixels. The bytes follow from name, seed, numbers and the versions of
    artwork and software. Keys of the result: `name`, `kind` (`classification`, `retrieval`), `style`, `artwork`,
    `licence`, `classes`, `splits` ({split: {"images", "captions"}}), `recipe`, `files` ({path: {"bytes", "sha256"}})
    and `sha256`, of these files. Raises UserError for an unknown set, values that cannot be and missing packages.
    """
    if (known := GLYPH_SETS.get(name)) is None:
        raise UserError(f"eval.datasets={name}: no such glyph set{nearest(name, GLYPH_SETS)}: {', '.join(GLYPH_SETS)}")
    if images_per_class < 1:
        raise UserError(f"eval.glyph_images={images_per_class}: wanted a whole number from 1; the default is 10")
    artwork = preflight(known.style, size, 0.0)
    classes = read_demo_classes()
    encode = _encoder(artwork, size)
    files: dict[str, dict[str, Any]] = {}

    def put(path: str, content: bytes) -> None:
        target = folder / path
        make_directory(target.parent)
        write_file(target, content)
        files[path] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    splits = {}
    for split in known.splits:
        scenes = list(_scenes(known, split, seed, images_per_class, classes))
        put(f"{split}/0.tar", members(_members(scenes, encode)) + END)
        put(f"{split}/nshards.txt", b"1\n")
        splits[split] = {"images": len(scenes), "captions": sum(len(scene.captions) for scene in scenes)}
    if known.retrieval:
        put("dataset_type.txt", b"retrieval\n")
    else:
        put("classnames.txt", _lines(classes))
        put("zeroshot_classification_templates.txt", _lines(TEMPLATES))
    told = {
        "name": name,
        "kind": "retrieval" if known.retrieval else "classification",
        "style": known.style,
        "artwork": artwork.label,
        "licence": artwork.style.licence,
        "classes": len(classes),
        "splits": splits,
        "recipe": {"glyphs": RECIPE, "seed": seed, "images_per_class": images_per_class, "size": size},
    }
    put("README.md", readme(told, artwork.style).encode())
    return told | {"files": files, "sha256": fingerprint(files)}


def scene_seed(seed: int, name: str, split: str, concept: str, number: int) -> int:
    """Return the seed of picture `number` of a class: 2^63 to 2^64 - 1, where no image of a training set has its own.

    The two styles share no scene either.
    """
    return derive(seed, item_id(name, split, concept, number), _PURPOSE) | _APART


def _scenes(
    known: GlyphSet, split: str, seed: int, images_per_class: int, classes: Sequence[str]
) -> Iterator[EvaluationScene]:
    per_class = (images_per_class + 1) // 2 if known.retrieval else images_per_class
    for label, concept in enumerate(classes):
        class_seed = derive(seed, item_id(known.name, split, concept), _PURPOSE)
        for number in range(per_class):
            own = scene_seed(seed, known.name, split, concept, number)
            if known.retrieval:
                yield described(own, class_seed, number, classes, label)
            else:
                yield classified(own, concept, label)


def _encoder(artwork: Artwork, size: int) -> Callable[[EvaluationScene], bytes]:
    """Return what draws a scene as a JPEG, of the quality that the renderer's images have."""
    # Packages of the extra, which `preflight` has found.
    import cv2

    from synthclip_hpc.rendering.glyphs.compose import compose
    from synthclip_hpc.rendering.glyphs.store import ArtworkStore

    cv2.setNumThreads(1)
    store, codepoints = ArtworkStore(artwork, raster_size(size)), read_emoji()
    jpeg = jpeg_encoder(RenderConfig(size=size))

    def raster(concept: str, variant: int) -> Pixels:
        return store.raster(codepoints[concept], variant)

    return lambda scene: jpeg(compose(scene.scene, size, raster))


def _members(
    scenes: Sequence[EvaluationScene], encode: Callable[[EvaluationScene], bytes]
) -> Iterator[tuple[str, bytes]]:
    for number, scene in enumerate(scenes):
        yield f"{number:06d}.jpg", encode(scene)
        if scene.captions:
            yield f"{number:06d}.txt", _lines(scene.captions)
        else:
            yield f"{number:06d}.cls", b"%d" % scene.label


def _lines(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
