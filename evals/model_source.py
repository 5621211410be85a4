"""Where a model's configuration, weights and tokenizer lie on this machine. Nothing is fetched."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.errors import EvalError, nearest

LOCAL, HUB = "local-dir:", "hf-hub:"
CONFIG_FILE = "open_clip_config.json"
_PREFERRED = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


@dataclass(frozen=True)
class ModelSource:
    """All that is needed to open a model."""

    config: dict[str, Any]
    """open_clip's `model_cfg`."""
    preprocess: dict[str, Any]
    """open_clip's `preprocess_cfg`; what is missing has open_clip's defaults."""
    weights: Path
    tokenizer: str | None
    """What `open_clip.get_tokenizer` takes; None for one that follows from the configuration alone."""


def find_model(model: str, pretrained: str) -> ModelSource:
    """Find a model by the two words that the command line has for it.

    `model`: a name of open_clip's, with `pretrained` a tag whose weights are in the cache, or a file; a JSON file of
    open_clip's form, with a file; `local-dir:FOLDER` or just a folder, such as a run's `train/export/`; `hf-hub:NAME`
    from the cache. The latter two bring their weights. Raises EvalError.
    """
    if not model:
        raise EvalError("model=: empty; give open_clip's name of a model, a JSON file, or local-dir:FOLDER")
    go_offline()
    if model.startswith(LOCAL) or Path(model).expanduser().is_dir():
        return _folder(model, Path(model.removeprefix(LOCAL)).expanduser(), pretrained)
    if model.startswith(HUB):
        return _hub(model, pretrained)
    if model.endswith(".json"):
        return _json(model, pretrained)
    return _named(model, pretrained)


def go_offline() -> None:
    """Keep Hugging Face's libraries off the network, also where they have been imported already."""
    os.environ.update(_OFFLINE)
    if (constants := sys.modules.get("huggingface_hub.constants")) is not None:
        constants.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]


def _folder(model: str, folder: Path, pretrained: str) -> ModelSource:
    _refuse_pretrained(model, pretrained)
    if not folder.is_dir():
        raise EvalError(f"model={model}: there is no such folder; give one that a training exported")
    if not (folder / CONFIG_FILE).is_file():
        raise EvalError(f"model={model}: there is no {folder / CONFIG_FILE}; give a folder that a training exported")
    config, preprocess = _read_config(folder / CONFIG_FILE, f"model={model}")
    weights = next((folder / name for name in _PREFERRED if (folder / name).is_file()), None)
    if weights is None:
        others = sorted(path for path in folder.iterdir() if path.name.endswith(_SUFFIXES))
        if len(others) != 1:
            raise EvalError(f"model={model}: {len(others)} files of weights in {folder}, none of them {_PREFERRED[0]}")
        weights = others[0]
    return ModelSource(config, preprocess, weights, f"{LOCAL}{folder}")


def _hub(model: str, pretrained: str) -> ModelSource:
    from huggingface_hub import try_to_load_from_cache

    _refuse_pretrained(model, pretrained)
    repository = model.removeprefix(HUB)
    config = try_to_load_from_cache(repository, CONFIG_FILE)
    weights = _hub_file(repository, _PREFERRED)
    if not isinstance(config, str) or weights is None:
        raise EvalError(f"model={model}: not on this machine; fetch it once with internet: {_fetch(model, '')}")
    return ModelSource(*_read_config(Path(config), f"model={model}"), weights, model)


def _json(model: str, pretrained: str) -> ModelSource:
    path = Path(model).expanduser()
    if not path.is_file():
        raise EvalError(f"model={model}: there is no such file; give a JSON file of open_clip's form, or a name")
    config, preprocess = _read_config(path, f"model={model}")
    return ModelSource(config, preprocess, _weights_file(pretrained), None)


def _named(model: str, pretrained: str) -> ModelSource:
    import open_clip

    known = open_clip.list_models()
    if model not in known and Path(model).expanduser().is_file():
        raise EvalError(
            f"model={model}: a file; give its configuration as model=FILE.json and it as pretrained={model}"
        )
    if model not in known and _looks_like_path(model) and model.replace("/", "-") not in known:
        raise EvalError(
            f"model={model}: there is no such folder; give one that a training exported, a JSON file of open_clip's "
            "form, or one of its names"
        )
    if model not in known:
        raise EvalError(
            f"model={model}{nearest(model, known)}: open_clip has no such model. Valid are its names "
            "(open_clip.list_models()), a JSON file of its form, local-dir:FOLDER and hf-hub:NAME"
        )
    config = open_clip.get_model_config(model)
    tags = open_clip.list_pretrained_tags_by_model(model)
    tag: Mapping[str, Any] = open_clip.get_pretrained_cfg(model, pretrained) if pretrained else {}
    if not tag:
        if pretrained and not Path(pretrained).expanduser().exists():
            raise EvalError(
                f"pretrained={pretrained}{nearest(pretrained, tags)}: no such file, and no tag of {model}, which has "
                f"{', '.join(tags) or 'none'}"
            )
        return ModelSource(config, {}, _weights_file(pretrained), model)
    if bool(tag.get("quick_gelu")) != bool(config.get("quick_gelu")):
        other = model.removesuffix("-quickgelu") if config.get("quick_gelu") else f"{model}-quickgelu"
        raise EvalError(
            f"pretrained={pretrained}: these weights belong to the other activation (quick_gelu="
            f"{str(bool(tag.get('quick_gelu'))).lower()}), and {model} would give wrong numbers; give model={other}"
        )
    weights = _tagged_file(tag)
    if weights is None:
        raise EvalError(
            f"pretrained={pretrained}: these weights are not on this machine; fetch them once with internet: "
            f"{_fetch(model, pretrained)} (HF_HOME moves the cache), or give the path of a file"
        )
    return ModelSource(config, dict(tag), weights, model)


def _looks_like_path(model: str) -> bool:
    return "/" in model or model.startswith(("~", "."))


def _tagged_file(tag: Mapping[str, Any]) -> Path | None:
    """Return where open_clip has put a tag's file: in the hub's cache, or in its own for what has only an address."""
    if place := str(tag.get("hf_hub") or ""):
        repository, _, name = place.rpartition("/")
        return _hub_file(repository, (str(Path(name).with_suffix(".safetensors")), name) if name else _PREFERRED)
    path = Path("~/.cache/clip").expanduser() / str(tag.get("url", "")).rpartition("/")[2]
    return path if path.is_file() else None


def _hub_file(repository: str, names: tuple[str, ...]) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(repository, name) for name in names)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def _fetch(model: str, pretrained: str) -> str:
    tag = f", pretrained='{pretrained}'" if pretrained else ""
    return f"python -c \"import open_clip; open_clip.create_model('{model}'{tag})\""


def _refuse_pretrained(model: str, pretrained: str) -> None:
    if pretrained:
        raise EvalError(f"pretrained={pretrained}: model={model} brings its own weights; leave pretrained out")


def _weights_file(pretrained: str) -> Path:
    if not pretrained:
        raise EvalError("pretrained=: without weights there is nothing to measure; give a file of weights, or a tag")
    path = Path(pretrained).expanduser()
    if not path.is_file():
        raise EvalError(f"pretrained={pretrained}: there is no such file; give a .safetensors or .pt file")
    if not path.name.endswith(_SUFFIXES):
        raise EvalError(f"pretrained={pretrained}: valid are files that end in {', '.join(_SUFFIXES)}")
    return path


def _read_config(path: Path, told: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return `model_cfg` and `preprocess_cfg`; a file with the first alone is one too."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EvalError(f"{told}: {path} is no JSON ({error}); it may still be being written") from error
    outer = content if isinstance(content, dict) else {}
    config, preprocess = outer.get("model_cfg", outer), outer.get("preprocess_cfg", {})
    if not isinstance(config, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= config.keys():
        raise EvalError(f"{told}: {path} has not open_clip's form, with embed_dim, vision_cfg and text_cfg")
    if not isinstance(preprocess, dict):
        raise EvalError(f"{told}: preprocess_cfg in {path} is no object")
    return config, preprocess
