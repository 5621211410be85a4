"""Which model is trained: its configuration in open_clip's form, found without importing open_clip or torch.

It runs at every submission, because the whole configuration goes into the plan.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharding.canonical import fingerprint
from synthclip_hpc.config.train import BUILT_IN_TRAIN_MODELS
from synthclip_hpc.errors import UserError, nearest
from synthclip_hpc.paths import path_of

_BUILT_IN = Path(__file__).with_name("model_configs")
_PARTS: Mapping[str, type] = {"embed_dim": int, "vision_cfg": dict, "text_cfg": dict}
_DEFAULT_IMAGE_SIZE = 224
_DEFAULT_CONTEXT_LENGTH = 77
"""What open_clip takes where a configuration does not say."""


@dataclass(frozen=True)
class ModelConfig:
    """The architecture of a CLIP model."""

    name: str
    """Built-in name, open_clip's, or the stem of the JSON file."""
    config: dict[str, Any]
    """`embed_dim`, `vision_cfg`, `text_cfg` …, as open_clip's JSON files have them; nobody changes it."""
    sha256: str
    """Of the configuration, wherever it came from and whatever its name."""

    @property
    def image_size(self) -> int:
        """Pixels on each side of an image."""
        size = self.config["vision_cfg"].get("image_size", _DEFAULT_IMAGE_SIZE)
        return size[0] if isinstance(size, list) else size

    @property
    def context_length(self) -> int:
        """Tokens of a caption."""
        length: int = self.config["text_cfg"].get("context_length", _DEFAULT_CONTEXT_LENGTH)
        return length

    @property
    def quick_gelu(self) -> bool:
        """Whether the activation is QuickGELU; an image tower of timm's has the exact GELU all the same."""
        return bool(self.config.get("quick_gelu", False))


def find_model_config(text: str, key: str = "train.model") -> ModelConfig:
    """Find a built-in configuration, a JSON file, or one that the installed open_clip has, by its name.

    A file has open_clip's form; an exported `open_clip_config.json` is one too. Raises UserError for an unknown name, a
    file that is no such configuration, and models that the contrastive loss of this stage does not train.
    """
    if text in BUILT_IN_TRAIN_MODELS:
        path = _BUILT_IN / f"{text}.json"
    elif text.endswith(".json") or "/" in text:
        path = path_of(key, text)
        if not path.is_file():
            raise UserError(f"{key}={text}: there is no such file; give a JSON file of open_clip's form, or a name")
    else:
        path = _open_clip_file(text, key)
    config = _read(path, f"{key}={text}")
    return ModelConfig(path.stem, config, fingerprint(config))


def _open_clip_file(name: str, key: str) -> Path:
    spec = importlib.util.find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"{key}={name}{nearest(name, BUILT_IN_TRAIN_MODELS)}: none of {', '.join(BUILT_IN_TRAIN_MODELS)}, and to "
            "look among open_clip's models it is needed here: pip install 'synthclip-hpc[train]'. Or give a JSON file"
        )
    folder = Path(spec.submodule_search_locations[0]) / "model_configs"
    path = folder / f"{name}.json"
    if not path.is_file():
        known = [*BUILT_IN_TRAIN_MODELS, *(file.stem for file in folder.glob("*.json"))]
        raise UserError(
            f"{key}={name}{nearest(name, known)}: no such model. Valid: {', '.join(BUILT_IN_TRAIN_MODELS)}, a name "
            "that open_clip.list_models() tells, or the path of a JSON file of open_clip's form"
        )
    return path


def _read(path: Path, told: str) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # a UnicodeDecodeError too
        raise UserError(f"{told}: not JSON ({error}); mend the file or give another") from error
    if isinstance(config, dict) and "model_cfg" in config:
        config = config["model_cfg"]
    for part, kind in _PARTS.items():
        if not isinstance(config, dict) or type(config.get(part)) is not kind:
            raise UserError(
                f"{told}: no model's configuration: {part} is missing or no {_JSON_NAMES[kind]}. Valid: open_clip's "
                "form, with embed_dim, vision_cfg and text_cfg; its own model_configs/*.json are examples"
            )
    _refuse_others(config, told)
    return config


_JSON_NAMES = {int: "whole number", dict: "object"}


def _refuse_others(config: Mapping[str, Any], told: str) -> None:
    vision, text = config["vision_cfg"], config["text_cfg"]
    size = vision.get("image_size", _DEFAULT_IMAGE_SIZE)
    sides = size if isinstance(size, list) else [size]
    if not sides or any(type(side) is not int or side < 1 or side != sides[0] for side in sides):
        raise UserError(f"{told}: vision_cfg.image_size is {size}; only square images are trained on; give one number")
    length = text.get("context_length", _DEFAULT_CONTEXT_LENGTH)
    if type(length) is not int or length < 1:
        raise UserError(f"{told}: text_cfg.context_length is {length}; give a whole number of tokens")
    for part, found, why in (
        ("multimodal_cfg", "multimodal_cfg" in config, "it is trained with a caption loss as well (CoCa)"),
        ("init_logit_bias", config.get("init_logit_bias") is not None, "it is trained with another loss (SigLIP)"),
        ("text_cfg.hf_model_name", "hf_model_name" in text, "its text tower comes from the Hugging Face hub"),
    ):
        if found:
            raise UserError(f"{told}: has {part}: {why}, which is not supported; choose a plain CLIP model")
