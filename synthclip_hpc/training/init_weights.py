"""Weights to start from: found on this machine at submission, and loaded by the ranks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from sharding.canonical import fingerprint
from synthclip_hpc.errors import UserError, nearest
from synthclip_hpc.fingerprints import sample_file
from synthclip_hpc.models.offline import go_offline
from synthclip_hpc.models.safetensors_file import is_whole, sample_tensors
from synthclip_hpc.paths import path_of
from synthclip_hpc.training.model_config import ModelConfig

if TYPE_CHECKING:
    from torch import nn

WEIGHTS_FILE = "open_clip_model.safetensors"
CONFIG_FILE = "open_clip_config.json"
"""What open_clip calls the two files of an exported model."""
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
_NAMES = (WEIGHTS_FILE, "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin", "model.safetensors")
_HUB_NAMES = (WEIGHTS_FILE, "open_clip_pytorch_model.bin")
_TENSOR_SAMPLES_BYTES = 32 << 20
_SAMPLES = 64
_TOLD = 3
"""Tensors that do not fit, named in a message."""


@dataclass(frozen=True)
class InitWeights:
    """A file of weights on this machine."""

    name: str
    """As the user gave it: a path or a tag."""
    path: Path
    fingerprint: str
    """sha256 over its size and samples of its bytes, wherever it lies."""


def find_init(text: str, model: ModelConfig, key: str = "train.init") -> InitWeights:
    """Find a file, a folder with one (an export), or the local copy of one of open_clip's pretrained tags.

    Nothing is downloaded; a tag imports open_clip to look it up. Raises UserError for what is not there, a file cut
    short, and weights that are known to want another activation than the model has: they would load and be wrong.
    """
    path = path_of(key, text)
    quick_gelu: bool | None = None
    if path.is_dir():
        path = _file_in(path, f"{key}={text}")
    elif not path.is_file():
        if "/" in text or text.endswith(_SUFFIXES):
            raise UserError(
                f"{key}={text}: there is no such file or folder; look for the export of a run: RUN/train/export"
            )
        path, quick_gelu = _tagged_file(text, model, key)
    if not path.name.endswith(_SUFFIXES):
        raise UserError(
            f"{key}={text}: no file of weights. Valid: a file that ends with {', '.join(_SUFFIXES)}, a folder"
        )
    if path.name.endswith(".safetensors"):
        if not is_whole(path):
            raise UserError(f"{key}={text}: {path} is cut short or no safetensors file; copy or fetch it again")
        samples = sample_tensors(path, _TENSOR_SAMPLES_BYTES)
    else:
        samples = sample_file(path, _SAMPLES)
    if quick_gelu is None:
        quick_gelu = _told_beside(path)
    if quick_gelu is not None and quick_gelu != model.quick_gelu:
        made, has = ("QuickGELU", "GELU") if quick_gelu else ("GELU", "QuickGELU")
        raise UserError(
            f"{key}={text}: these weights were trained with {made}, and train.model={model.name} has {has}; choose the "
            "train.model that they belong to (open_clip has pairs such as ViT-B-16 and ViT-B-16-quickgelu)"
        )
    return InitWeights(text, path, fingerprint(samples))


def load_init(module: nn.Module, init: InitWeights) -> None:
    """Load all weights into an open_clip model, in place; keys of other projects are renamed as open_clip does it.

    Position embeddings of another length are resized. No code is unpickled. Raises UserError when the weights do not
    fit, or the file has more in it than weights.
    """
    import open_clip

    try:
        open_clip.load_checkpoint(module, str(init.path), strict=True, weights_only=True)
    except UnpicklingError as error:
        raise UserError(
            f"train.init={init.name}: {init.path} holds more than tensors, and loading it could run code of others. "
            "Save its state_dict alone (torch.save, or better safetensors) and give that file"
        ) from error
    except (RuntimeError, AssertionError, LookupError, AttributeError, TypeError, ValueError, EOFError) as error:
        raise UserError(
            f"train.init={init.name}: {init.path} does not fit train.model: {_first_lines(str(error))}. "
            "Give the train.model that these weights belong to"
        ) from error


def _first_lines(message: str) -> str:
    """Return the first tensors out of torch's list of all that do not fit."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    found = [line for line in lines if line.startswith(("size mismatch", "Missing key", "Unexpected key"))]
    if not found:
        return lines[0] if lines else "the file is empty"
    shown = "; ".join(_shortened(line).rstrip(" .") for line in found[:_TOLD])
    return f"{shown}; and {len(found) - _TOLD} more" if len(found) > _TOLD else shown


def _shortened(line: str) -> str:
    """Cut a list of keys, of which torch names every one."""
    head, colon, keys = line.partition(": ")
    names = keys.split(", ")
    if not head.endswith("state_dict") or len(names) <= _TOLD:
        return line
    return f"{head}{colon}{', '.join(names[:_TOLD])} and {len(names) - _TOLD} more"


def _file_in(folder: Path, told: str) -> Path:
    for name in _NAMES:
        if (folder / name).is_file():
            return folder / name
    others = sorted(path for path in folder.iterdir() if path.name.endswith(_SUFFIXES))
    if len(others) != 1:
        raise UserError(
            f"{told}: this folder has {len(others)} files of weights, none of them {WEIGHTS_FILE}; name the file itself"
        )
    return others[0]


def _told_beside(path: Path) -> bool | None:
    """Return whether the configuration beside a file of weights has QuickGELU; None without one."""
    try:
        config = json.loads((path.parent / CONFIG_FILE).read_text(encoding="utf-8"))["model_cfg"]
        return bool(config.get("quick_gelu", False))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None  # a file of weights may lie beside anything


def _tagged_file(tag: str, model: ModelConfig, key: str) -> tuple[Path, bool]:
    go_offline()
    try:
        import open_clip
    except ImportError:
        raise UserError(
            f"{key}={tag}: no such file, and to look for a tag open_clip is needed here: "
            "pip install 'synthclip-hpc[train]'. Or give the path of the weights"
        ) from None
    tags = open_clip.list_pretrained_tags_by_model(model.name)
    found: Mapping[str, Any] = open_clip.get_pretrained_cfg(model.name, tag)
    if not found:
        valid = f"its tags are {', '.join(tags)}" if tags else "it has no tags"
        raise UserError(
            f"{key}={tag}{nearest(tag, tags)}: no such file or folder, and no pretrained tag of "
            f"train.model={model.name}: {valid}. Or give the path of the weights"
        )
    if (path := _local_copy(found)) is None:
        raise UserError(
            f"{key}={tag}: these weights are not on this machine. Fetch them once where there is internet: "
            f"python -c \"import open_clip; open_clip.create_model('{model.name}', pretrained='{tag}')\" "
            "(compute nodes need no internet afterwards; HF_HOME moves the cache), or give the path of the weights"
        )
    return path, bool(found.get("quick_gelu", False))


def _local_copy(tag: Mapping[str, Any]) -> Path | None:
    """Return where open_clip has put a tag's file: the hub's cache, or its own for what has only an address."""
    from huggingface_hub import try_to_load_from_cache

    if place := tag.get("hf_hub"):
        repository, _, name = str(place).rpartition("/")
        names = (str(Path(name).with_suffix(".safetensors")), name) if name else _HUB_NAMES
        cached = (try_to_load_from_cache(repository, one) for one in names)
        return next((Path(one) for one in cached if isinstance(one, str)), None)
    path = Path("~/.cache/clip").expanduser() / str(tag.get("url", "")).rpartition("/")[2]
    return path if path.is_file() else None
