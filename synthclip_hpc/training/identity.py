"""What decides the weights: the settings, the model, and the weights to start from, as the plan binds them."""

from __future__ import annotations

from typing import Any

from synthclip_hpc.config import RunConfig, flatten
from synthclip_hpc.training.init_weights import find_init
from synthclip_hpc.training.model_config import ModelConfig, find_model_config

# Names of files: what is in them counts, and where they lie does not.
_BY_CONTENT = ("train.data", "train.init", "train.model")


def identity_of(config: RunConfig) -> dict[str, Any]:
    """Return the settings by their keys, the whole configuration of the model, and a fingerprint of `train.init`.

    Raises UserError for a model or weights that are not there.
    """
    model = find_model_config(config.train.model)
    found: dict[str, Any] = {
        key: value
        for key, value, field in flatten(config)
        if key.startswith("train.") and key not in _BY_CONTENT and field.metadata["role"] == "identity"
    }
    found |= {"seed": config.seed, "model": {"config": model.config, "sha256": model.sha256}}
    if config.train.init is not None:
        found["init"] = find_init(config.train.init, model).fingerprint
    return found


def planned_model(identity: dict[str, Any], name: str) -> ModelConfig:
    """Return the model's configuration out of a plan: the file it came from may have gone since."""
    planned = identity["model"]
    return ModelConfig(name, planned["config"], planned["sha256"])
