"""A pipeline's folder: checked for all that is going to be opened, and fingerprinted: cheaply, and without torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from synthclip_hpc.errors import UserError
from synthclip_hpc.models.find import Found, ModelKind, find_folder
from synthclip_hpc.models.fingerprint import fingerprint_files
from synthclip_hpc.models.safetensors_file import is_whole
from synthclip_hpc.rendering.diffusion.recipe import OWN_SCHEDULER, Recipe

PIPELINE = ModelKind("render.diffusion.model", main_file="model_index.json", extra="render")
SAFETY = ("safety_checker", "feature_extractor")
"""Parts that only the safety checker needs."""
UNUSED = ("image_encoder",)
"""Parts that a text alone does not need."""
_VARIANTS = (None, "fp16")
"""Weights as they are, else the half-size files that some models come with."""
_STEMS = ("diffusion_pytorch_model", "model")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
_CONFIGURED_BY = ("scheduler_config.json", "preprocessor_config.json", "config.json")


@dataclass(frozen=True)
class PipelineFiles:
    """A text-to-image pipeline on this machine."""

    name: str
    """The hub id, or the folder's name."""
    path: Path
    """Folder that `from_pretrained` opens."""
    revision: str | None
    """Commit hash of a hub snapshot."""
    fingerprint: str
    """sha256 over the files that are opened, wherever the folder lies; see models.fingerprint."""
    pipeline: str
    """Class of diffusers that the folder names."""
    scheduler: str
    """Class of the scheduler saved with it; an empty text when there is none."""
    parts: tuple[str, ...]
    """What is left out is None when the pipeline is opened."""
    left_out: tuple[str, ...]
    variant: str | None
    """Which of several sets of weights is opened; None = the plain one."""
    whole: tuple[str, ...]
    """Small files that are opened, relative to the folder."""
    weights: tuple[str, ...]
    """Files with weights that are opened, relative to the folder."""

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that is opened, relative to the folder."""
        return (*self.whole, *self.weights)

    def provenance(self) -> dict[str, Any]:
        """Return what a marker tells of the model that drew its images."""
        return {"name": self.name, "path": str(self.path), "revision": self.revision, "fingerprint": self.fingerprint}


def find_pipeline(recipe: Recipe) -> PipelineFiles:
    """Find the recipe's model on this machine, check that it is whole, and fingerprint it.

    Nothing is downloaded. Raises UserError for whatever is missing, cut short, or no pipeline.
    """
    found = _find(recipe)
    folder = _Folder(found)
    index = folder.read_json(PIPELINE.main_file)
    pipeline = folder.pipeline_class(index)
    present = [name for name, value in index.items() if _is_part(value)]
    left_out = tuple(name for name in present if name in UNUSED or (name in SAFETY and not recipe.safety_checker))
    parts = tuple(name for name in present if name not in left_out)
    folder.refuse_code(index, parts)
    if recipe.safety_checker and "safety_checker" not in parts:
        folder.refuse("has no safety checker; leave render.diffusion.safety_checker out")
    variant = next((one for one in _VARIANTS if folder.has_weights_of_all(parts, one)), None)
    whole, weights = [PIPELINE.main_file], []
    for part in parts:
        small, large = folder.files_of(part, variant)
        whole += small
        weights += large
    if not weights:
        folder.refuse("has a model_index.json that names no part with weights; fetch or copy it again")
    return PipelineFiles(
        name=found.name,
        path=found.path,
        revision=found.revision,
        fingerprint=fingerprint_files(found.path, whole, weights),
        pipeline=pipeline,
        scheduler=str(index["scheduler"][1]) if "scheduler" in parts else "",
        parts=parts,
        left_out=left_out,
        variant=variant,
        whole=tuple(whole),
        weights=tuple(weights),
    )


def scheduler_class(recipe: Recipe, files: PipelineFiles) -> str | None:
    """Return the scheduler class to put in the place of the pipeline's own; None when that stays."""
    return None if recipe.scheduler in (OWN_SCHEDULER, files.scheduler) else recipe.scheduler


def _find(recipe: Recipe) -> Found:
    return find_folder(PIPELINE, recipe.model, recipe.revision)


def _is_part(value: Any) -> bool:
    """Tell parts, [library, class], from settings; a part that is not there is [null, null]."""
    return isinstance(value, list) and len(value) == 2 and all(isinstance(one, str) for one in value)


@dataclass(frozen=True)
class _Folder:
    """A pipeline's folder under examination; whatever is wrong raises UserError."""

    found: Found

    def refuse(self, reason: str) -> NoReturn:
        raise UserError(f"{PIPELINE.key}={self.found.name}: {self.found.path} {reason}")

    def has(self, name: str) -> bool:
        return (self.found.path / name).is_file()

    def read_json(self, name: str) -> dict[str, Any]:
        try:
            content = json.loads((self.found.path / name).read_bytes())
        except FileNotFoundError:
            self.refuse(
                f"has no {name}, so it is no pipeline of diffusers; give a folder that save_pretrained wrote, or a hub "
                "id (a single file of weights has to be converted first)"
            )
        except (OSError, ValueError) as error:
            self.refuse(f"has a {name} that cannot be read ({error}); fetch or copy it again")
        if not isinstance(content, dict):
            self.refuse(f"has a {name} that is no JSON object; fetch or copy it again")
        return content

    def pipeline_class(self, index: dict[str, Any]) -> str:
        name = index.get("_class_name")
        if isinstance(name, list):
            self.refuse("brings a pipeline with code of its own, and such code is never run; take another model")
        if not isinstance(name, str):
            self.refuse("has a model_index.json that names no pipeline (_class_name); fetch or copy it again")
        return name

    def refuse_code(self, index: dict[str, Any], parts: tuple[str, ...]) -> None:
        """Refuse a part whose class lies beside its weights: not every diffusers asks before it runs such a file."""
        if own := [f"{part}/{index[part][0]}.py" for part in parts if self.has(f"{part}/{index[part][0]}.py")]:
            self.refuse(f"brings code of its own, {own[0]}, and such code is never run; take another model")

    def has_weights_of_all(self, parts: tuple[str, ...], variant: str | None) -> bool:
        """Tell whether each part that has weights in any variant has them in this one."""
        return all(
            self.weights_of(part, variant) for part in parts if any(self.weights_of(part, other) for other in _VARIANTS)
        )

    def weights_of(self, part: str, variant: str | None) -> list[str]:
        """Return the names of a part's weight files, an index first; none when there are none."""
        infix = f".{variant}" if variant else ""
        for stem in _STEMS:
            for ending in ("safetensors", "bin"):
                base = "pytorch_model" if (stem, ending) == ("model", "bin") else stem
                if self.has(single := f"{part}/{base}{infix}.{ending}"):
                    return [single]
                if self.has(index := f"{part}/{base}.{ending}.index{infix}.json"):
                    return [index, *self.shards(part, index)]
        return []

    def shards(self, part: str, index: str) -> list[str]:
        placed = self.read_json(index).get("weight_map")
        if not isinstance(placed, dict) or not placed:
            self.refuse(f"has an {index} without a weight_map; fetch or copy it again")
        shards = [f"{part}/{name}" for name in sorted(set(map(str, placed.values())))]
        if missing := [name for name in shards if not self.has(name)]:
            self.refuse(
                f"lacks {len(missing)} of the {len(shards)} weight files that {index} names, the first is "
                f"{missing[0]}; fetch or copy them"
            )
        return shards

    def files_of(self, part: str, variant: str | None) -> tuple[list[str], list[str]]:
        """Return the part's small files and its weight files. Raises UserError when it lacks some, or one is cut."""
        if not (self.found.path / part).is_dir():
            self.refuse(f"lacks the folder {part} that its model_index.json names; fetch or copy it again, as a whole")
        small = [name for one in (*_CONFIGURED_BY, *_TOKENIZER_FILES) if self.has(name := f"{part}/{one}")]
        if part.startswith("tokenizer"):
            if not any(name.endswith((".json", ".model", ".txt")) and "config" not in name for name in small):
                self.refuse(f"has no vocabulary in {part}; fetch or copy it again")
            return small, []
        if not any(name.endswith(_CONFIGURED_BY) for name in small):
            self.refuse(f"has no configuration in {part}; fetch or copy it again")
        if part in ("scheduler", "feature_extractor"):
            return small, []
        weights = self.weights_of(part, variant)
        if not weights:
            self.refuse(f"has no weights in {part} (.safetensors or .bin); fetch or copy them")
        for name in weights:
            if name.endswith(".safetensors") and not is_whole(self.found.path / name):
                self.refuse(f"has a {name} that is cut short or no safetensors file; fetch or copy it again")
        indexes = [name for name in weights if name.endswith(".json")]
        return small + indexes, [name for name in weights if name not in indexes]
