"""The model from elsewhere that a run evaluates: one name for it everywhere, what it is, and its hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharding.plan import load_plan
from synthclip_hpc.config.eval import EvalConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.reporting.portable import shown_value
from synthclip_hpc.reporting.runs import ToldRun

_SHA_DIGITS = 12
# What open_clip takes where a configuration does not say (its CLIPVisionCfg and CLIPTextCfg).
_VISION = {"image_size": 224, "layers": 12, "width": 768, "patch_size": 16}
_TEXT = {"layers": 12, "width": 512}


@dataclass(frozen=True)
class OutsideModel:
    """A model from elsewhere."""

    name: str
    """As tables call it."""
    architecture: str
    """In words; empty where it is not known, and where the name is open_clip's and so says it."""
    sha256: str
    """Of configuration and weights, as its results have it; empty as long as there are none."""

    def words(self) -> str:
        """Return name, architecture and the beginning of the hash."""
        about = [self.architecture, f"sha256 {self.sha256[:_SHA_DIGITS]}" if self.sha256 else ""]
        told = "; ".join(filter(None, about))
        return f"{self.name} ({told})" if told else self.name


def outside_model_of(told: ToldRun) -> OutsideModel | None:
    """Return the model from elsewhere that a run evaluates or is to evaluate; None when there is none."""
    if not told.run.has_plans("eval"):
        return None
    settings = told.config.eval
    cells = [cell for cell in told.cells if cell.epoch is None]
    plan = load_plan(told.run.phase("eval", "cells"))
    models = [] if plan is None else [one for one in plan.identity.get("models", []) if one.get("epoch") is None]
    if not models and not cells and settings.model is None:
        return None
    if models:
        name = str(models[0]["name"])
    elif cells:
        name = cells[0].model
    else:
        words = (("eval.model", settings.model), ("eval.pretrained", settings.pretrained))
        name = " ".join(str(shown_value(key, word)) for key, word in words if word)
    planned = str(models[0].get("fingerprint", "")) if models else ""
    sha256 = str(cells[0].record["model"].get("sha256", "")) if cells else ""
    return OutsideModel(name, _architecture(settings, planned), sha256)


def architecture_in_words(config: Mapping[str, Any]) -> str:
    """Return what an open_clip `model_cfg` describes: image tower, text tower, embedding; sizes in units of each."""
    vision, text = _VISION | config["vision_cfg"], _TEXT | config["text_cfg"]
    if vision.get("timm_model_name"):
        image = str(vision["timm_model_name"])
    elif isinstance(vision["layers"], list):
        image = f"ResNet {'-'.join(str(one) for one in vision['layers'])}, width {vision['width']}"
    else:
        image = f"ViT/{vision['patch_size']}, {vision['layers']} layers, width {vision['width']}"
    layers = f"{text['layers']} {'layer' if text['layers'] == 1 else 'layers'}, width {text['width']}"
    words = str(text.get("hf_model_name") or layers)
    return f"images of {vision['image_size']} pixels: {image}; text: {words}; embedding: {config['embed_dim']}"


def _architecture(settings: EvalConfig, planned: str) -> str:
    """Return the architecture of the files that `eval.model` names, if these are still those of the plan."""
    from evals.model_source import HUB, LOCAL, find_model
    from synthclip_hpc.evaluation.models import outside_model

    model = settings.model or ""
    has_files = model.startswith((LOCAL, HUB)) or model.endswith(".json") or Path(model).expanduser().is_dir()
    if not model or not has_files or not planned:
        return ""
    try:
        if outside_model(settings).fingerprint != planned:
            return ""
    except UserError:
        return ""  # A report is often made where, or when, the model's files are not there any more.
    return architecture_in_words(find_model(model, settings.pretrained or "").config)
