"""Opening a model: the module in evaluation mode, its transform and tokenizer, and a hash of its content."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, Literal

from evals.devices import find_device
from evals.errors import EvalError
from evals.model_source import CONFIG_FILE, LOCAL, ModelSource, find_model
from evals.tokenizer import Tokenize, open_tokenizer, tokenizer_identity

if TYPE_CHECKING:
    import torch
    from torch import nn

Precision = Literal["fp32", "amp_bf16", "amp_fp16"]
_TOLD = 3


@dataclass(frozen=True)
class ClipModel:
    """An opened model on its device."""

    module: nn.Module
    """In evaluation mode, its parameters in float32 and without gradients."""
    preprocess: Callable[[Any], torch.Tensor]
    """open_clip's own evaluation transform: a Pillow image to float [3, height, width]."""
    preprocess_config: dict[str, Any]
    """What that transform follows from (size, mean, std, interpolation, resize mode …), as JSON has it."""
    tokenize: Tokenize
    """n texts to int64 [n, context length]."""
    sha256: str
    """Of configuration and weights in float32: the same from .pt and .safetensors, whatever the file's name."""
    tokenizer: str
    """Kind and hash of the tokenizer."""
    device: torch.device
    precision: Precision

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this model from others, as JSON has it: `sha256` of the weights, `preprocess`, `tokenizer`."""
        return {"sha256": self.sha256, "preprocess": self.preprocess_config, "tokenizer": self.tokenizer}

    def autocast(self) -> AbstractContextManager[Any]:
        """What to run the module in."""
        import torch

        dtype = torch.float16 if self.precision == "amp_fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.precision != "fp32")


def open_model(model: str, pretrained: str = "", device: str = "auto", precision: Precision = "fp32") -> ClipModel:
    """Open any CLIP model that open_clip can; see `model_source.find_model` for what `model` and `pretrained` may be.

    No code is unpickled and nothing is fetched. Raises EvalError for what is not there or does not fit.
    """
    place = find_device(device)
    source = find_model(model, pretrained)
    module, transform = _build(source, f"model={model} pretrained={pretrained}" if pretrained else f"model={model}")
    module.eval().requires_grad_(False)
    config = json.loads(json.dumps(module.visual.preprocess_cfg))  # so that it equals what is read from a record
    tokenize = open_tokenizer(source, model)
    tokens = tokenizer_identity(tokenize)
    digest = _content_hash(source.config, module)
    return ClipModel(module.to(place), transform, config, tokenize, digest, tokens, place, precision)


def _build(source: ModelSource, told: str) -> tuple[nn.Module, Callable[[Any], torch.Tensor]]:
    import open_clip
    from safetensors import SafetensorError

    expected = (
        RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError, OSError, EOFError,
        UnpicklingError, SafetensorError,
    )  # fmt: skip
    with _as_folder(source) as folder:
        try:
            module, _, transform = open_clip.create_model_and_transforms(f"{LOCAL}{folder}", pretrained_text=False)
        except UnpicklingError as error:
            raise EvalError(
                f"{told}: {source.weights} holds more than tensors, and loading it could run code of others; or it is "
                "cut off. Save its state_dict alone, best as .safetensors"
            ) from error
        except expected as error:
            raise EvalError(
                f"{told}: open_clip cannot load {source.weights}: {_first_lines(str(error) or repr(error))}. Give the "
                "configuration that these weights belong to; a file that is still being written cannot be read either"
            ) from error
    return module, transform


@contextmanager
def _as_folder(source: ModelSource) -> Iterator[Path]:
    """Lay any source out as a folder that open_clip opens: its list of names, which is global, stays as it is."""
    with tempfile.TemporaryDirectory(prefix="evals-model-") as temporary:
        folder = Path(temporary)
        content = {"model_cfg": source.config, "preprocess_cfg": source.preprocess}
        (folder / CONFIG_FILE).write_text(json.dumps(content), encoding="utf-8")
        safe = source.weights.suffix == ".safetensors"
        (folder / ("open_clip_model.safetensors" if safe else "open_clip_pytorch_model.bin")).symlink_to(
            source.weights.resolve()
        )
        yield folder


def _content_hash(config: dict[str, Any], module: nn.Module) -> str:
    import torch

    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name, tensor in sorted(module.state_dict().items()):
        content = tensor.detach().cpu().contiguous()
        digest.update(f"\0{name}\0{content.dtype}\0{tuple(content.shape)}\0".encode())
        digest.update(content.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _first_lines(message: str) -> str:
    lines = [line.strip()[:200] for line in message.splitlines() if line.strip()]
    found = [line for line in lines if line.startswith(("size mismatch", "Missing key", "Unexpected key"))] or lines
    return "; ".join(line.rstrip(" .") for line in found[:_TOLD])
