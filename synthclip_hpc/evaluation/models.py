"""The models of an evaluation: the run's own, after the epochs that are wanted, and one from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.errors import EvalError
from sharding.canonical import fingerprint
from synthclip_hpc.config import RunConfig
from synthclip_hpc.config.eval import EvalConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.fingerprints import sample_file
from synthclip_hpc.models.safetensors_file import is_whole, sample_tensors
from synthclip_hpc.run import Run
from synthclip_hpc.training import places
from synthclip_hpc.training.evaluated_epochs import evaluated_epochs
from synthclip_hpc.training.init_weights import CONFIG_FILE, WEIGHTS_FILE

_TENSOR_SAMPLES_BYTES = 32 << 20
_SAMPLES = 64
_OWN, _OUTSIDE = "run", "outside"


@dataclass(frozen=True)
class Model:
    """A model that is evaluated."""

    name: str
    epoch: int | None
    """None for one from elsewhere."""
    fingerprint: str | None
    """sha256 over configuration and samples of the weights; None for the run's own, which the inputs bind."""
    size_bytes: int
    """Of the weights; 0 where they are not there yet."""

    @property
    def source(self) -> str:
        """`run` or `outside`."""
        return _OUTSIDE if self.epoch is None else _OWN

    def identity(self) -> dict[str, Any]:
        """What a plan keeps of it."""
        return {"name": self.name, "epoch": self.epoch, "fingerprint": self.fingerprint}


def models_of(config: RunConfig) -> list[Model]:
    """Return the models, the run's own first, by epoch.

    Raises UserError for a model from elsewhere that is not on this machine, that open_clip does not know, or that would
    be called as one of the run's own.
    """
    own = [
        Model(name_of(epoch), epoch, None, 0)
        for epoch in evaluated_epochs(config.eval.checkpoints, config.train.epochs)
    ]
    if config.eval.model is None:
        return own
    outside = outside_model(config.eval)
    if any(one.name == outside.name for one in own):
        raise UserError(
            f"eval.model={config.eval.model}: it would be called {outside.name}, as one of the run's own models, and "
            "results go by names; rename its folder or file, or evaluate it in a run of its own "
            "(eval.checkpoints=none)"
        )
    return [*own, outside]


def name_of(epoch: int) -> str:
    """Return what the model after so many epochs is called."""
    return f"epoch-{epoch:04d}"


def outside_model(settings: EvalConfig) -> Model:
    """Find the model that `eval.model` and `eval.pretrained` name. Raises UserError."""
    from evals.model_source import find_model

    model, pretrained = settings.model or "", settings.pretrained or ""
    told = f"eval.model={model}" + (f" eval.pretrained={pretrained}" if pretrained else "")
    try:
        source = find_model(model, pretrained)
    except EvalError as error:
        raise UserError(f"{told}: {error}") from error
    except ImportError as error:
        raise UserError(
            f"{told}: to look for it open_clip is needed here ({error}): pip install 'synthclip-hpc[train]'. Or give a "
            "folder that a training exported"
        ) from error
    if source.weights.suffix == ".safetensors":
        if not is_whole(source.weights):
            raise UserError(
                f"{told}: {source.weights} is cut short or no safetensors file; it may still be being written, else "
                "copy or fetch it again"
            )
        sampled = sample_tensors(source.weights, _TENSOR_SAMPLES_BYTES)
    else:
        sampled = sample_file(source.weights, _SAMPLES)
    content = fingerprint({"config": source.config, "preprocess": source.preprocess, "weights": sampled})
    return Model(_outside_name(model, pretrained), None, content, source.weights.stat().st_size)


def words_of(run: Run, settings: EvalConfig, model: Model, epochs: Sequence[int]) -> tuple[str, str]:
    """Return what `evals` calls a model: (model, pretrained). `epochs` are all of the run's own that are evaluated.

    Raises UserError when the model from elsewhere is not the planned one.
    """
    if model.epoch is None:
        found = outside_model(settings)
        if found.fingerprint != model.fingerprint:
            raise UserError(
                f"eval.model={settings.model}: its files have changed since the evaluation was planned (planned "
                f"{model.fingerprint}, found {found.fingerprint}); restore them, or evaluate in a new run"
            )
        return settings.model or "", settings.pretrained or ""
    export = places.export_folder(run)
    if model.epoch == epochs[-1]:
        return str(export / CONFIG_FILE), str(export / WEIGHTS_FILE)
    weights = run.phase("eval", "models").data_path(epochs.index(model.epoch), ".safetensors")
    return str(export / CONFIG_FILE), str(weights)


def _outside_name(model: str, pretrained: str) -> str:
    """Return the words without folders, which are no part of a result: `ViT-B-16 openai`, `my-run/train/export`."""
    parts = [_without_folders(word) for word in (model.removeprefix("local-dir:"), pretrained) if word]
    return " ".join(parts)


def _without_folders(word: str) -> str:
    path = Path(word).expanduser()
    if not path.exists():
        return word
    parts = path.resolve().parts
    return "/".join(parts[-3:]) if parts[-2:] == ("train", "export") else parts[-1]
