"""Which weight files vLLM would open in a model's folder: those that the fingerprint is of, or it is refused."""

from __future__ import annotations

import json

from synthclip_hpc.captioning.models.folder import ModelFiles, weight_files
from synthclip_hpc.errors import UserError

_NO_WEIGHTS = ("training_args.bin", "optimizer.bin")
"""Files that vLLM leaves out by their names."""
_INDEX = "model.safetensors.index.json"


def load_format(model: ModelFiles) -> str:
    """Return vLLM's `load_format` for the weights that the fingerprint is of; it goes with `config_format=hf`.

    Left to itself, vLLM prefers Mistral's own format (`consolidated*.safetensors`, `params.json`) where a folder has
    both. Told to take `safetensors`, it takes all such files that the index names, and without an index all there are.
    Raises UserError when those are others.
    """
    expected = set(weight_files(model))
    found = {path.name for path in model.path.glob("*.safetensors")}
    if found and (model.path / _INDEX).is_file():
        found &= set(json.loads((model.path / _INDEX).read_bytes())["weight_map"].values())
    elif not found:
        found = {path.name for path in model.path.glob("*.bin")} - set(_NO_WEIGHTS)
    if found != expected:
        too_many = ", ".join(sorted(found - expected)) or "fewer files"
        raise UserError(
            f"captions.engine=vllm: in {model.path} vLLM would take {too_many} for weights, and the model's are "
            f"{', '.join(sorted(expected))}; give a folder with those alone (links will do), or use "
            "captions.engine=transformers"
        )
    return "safetensors" if next(iter(expected)).endswith(".safetensors") else "auto"
