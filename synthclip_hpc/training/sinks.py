"""Where metrics go besides the run's own files: TensorBoard and Weights & Biases, when they are asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from synthclip_hpc.errors import UserError

_TITLES = {
    "loss": "train/loss",
    "lr": "train/lr",
    "logit_scale": "train/logit_scale",
    "grad_norm": "train/grad_norm",
    "epoch": "train/epoch",
    "samples": "train/samples",
    "samples_per_s": "speed/samples_per_s",
    "data_wait_s": "speed/data_wait_s",
    "step_s": "speed/step_s",
    "memory_gb": "speed/memory_gb",
    "mfu": "speed/mfu",
}


class Sink(Protocol):
    """Takes numbers under their titles, step after step."""

    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files in a folder."""

    def __init__(self, folder: Path, first_step: int) -> None:
        """`first_step`: the first that will be logged; what an earlier life logged from there on is hidden.

        Raises UserError when the package is missing.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError(
                "train.tensorboard=true: tensorboard is not installed in this environment; pip install tensorboard, or "
                "train.tensorboard=false (the metrics are in the run's train/metrics as well)"
            ) from error
        self._writer = SummaryWriter(log_dir=str(folder), purge_step=first_step)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for title, value in values.items():
            self._writer.add_scalar(title, value, step)

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run of Weights & Biases that every life of this run goes on with."""

    def __init__(self, project: str, run_id: str, folder: Path, config: Mapping[str, Any]) -> None:
        """`config`: training's identity fields, and nothing of the environment.

        Neither code, git state nor the console is sent, as they may hold what is private. Raises UserError when the
        package is missing.
        """
        try:
            import wandb
        except ImportError as error:
            raise UserError(
                f"train.wandb={project}: wandb is not installed in this environment; pip install wandb, or leave "
                "train.wandb out (the metrics are in the run's train/metrics as well)"
            ) from error
        folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=project,
            id=f"synthclip-{run_id}",
            resume="allow",
            dir=str(folder),
            config=dict(config),
            settings=wandb.Settings(console="off", disable_code=True, disable_git=True),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        # Steps that were logged before a kill are dropped there: they came out the same.
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class Sinks:
    """Passes metrics on; a sink that fails is told of once and left out from then on, and training goes on."""

    def __init__(self, sinks: Sequence[Sink], tell: Callable[[str], None] | None = None) -> None:
        self._sinks = list(sinks)
        self._tell = tell or (lambda text: print(text, file=sys.stderr, flush=True))

    def log(self, row: Mapping[str, Any]) -> None:
        """Pass on a step's metrics or a timing, as `metrics.MetricsWriter` writes them; None values are left out."""
        values = {title: row[name] for name, title in _TITLES.items() if row.get(name) is not None}
        self._each(lambda sink: sink.log(row["step"], values))

    def close(self) -> None:
        self._each(lambda sink: sink.close())
        self._sinks.clear()

    def _each(self, effect: Callable[[Sink], None]) -> None:
        for sink in list(self._sinks):
            try:
                effect(sink)
            except Exception as error:
                # Whatever a network or a foreign package raises: a picture of training must not end it.
                self._sinks.remove(sink)
                self._tell(f"{type(sink).__name__} gets no more metrics ({type(error).__name__}: {error})")


def open_sinks(
    *, tensorboard: bool, wandb: str | None, folder: Path, run_id: str, first_step: int, config: Mapping[str, Any]
) -> Sinks:
    """Open what `train.tensorboard` and `train.wandb` ask for, below `folder` (`RUN/train`); rank 0 alone.

    Raises UserError when a package is missing: at the start, not after a day.
    """
    sinks: list[Sink] = []
    if tensorboard:
        sinks.append(TensorBoard(folder / "tensorboard", first_step))
    if wandb is not None:
        sinks.append(WeightsAndBiases(wandb, run_id, folder / "wandb", config))
    return Sinks(sinks)
