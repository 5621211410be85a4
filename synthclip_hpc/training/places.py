"""Where training keeps its files in a run, and where it finds its data."""

from __future__ import annotations

from pathlib import Path

from synthclip_hpc.config import TrainConfig
from synthclip_hpc.dataset.columns import INDEX
from synthclip_hpc.dataset.sources import split_sources
from synthclip_hpc.paths import path_of
from synthclip_hpc.run import Run
from synthclip_hpc.training.metrics import metrics_path
from synthclip_hpc.training.rounds import Round

DATASET = "dataset"
GATHERED = "data"
"""Below the stage's folder."""


def checkpoints(run: Run) -> Path:
    """Return the folder of the checkpoints."""
    return run.path / "train" / "checkpoints"


def metrics_folder(run: Run) -> Path:
    """Return the folder of the metrics, a file for each round."""
    return run.path / "train" / "metrics"


def metrics_file(run: Run, attempt: str, number: int) -> Path:
    """Return the metrics file of one round."""
    return metrics_path(metrics_folder(run), attempt, number)


def export_folder(run: Run) -> Path:
    """Return the folder of the trained model, in open_clip's form."""
    return run.path / "train" / "export"


def staged_export(one: Round) -> Path:
    """Return where rank 0 leaves the trained model at the end of a round."""
    return one.folder / "export"


def is_indexed(train: TrainConfig) -> bool:
    """Tell whether `train.data` names one finished data set, which has an index of its own."""
    if train.data is None:
        return False
    (given, cap), *others = split_sources(train.data, "train.data")
    return cap is None and not others and (named_folder(given) / INDEX).is_file()


def named_folder(given: str) -> Path:
    """Return the folder that `train.data` names where it names one."""
    return path_of("train.data", given.strip())


def gathered_folder(run: Run) -> Path:
    """Return the folder of links to the tars of `train.data`, and of their index."""
    return run.path / "train" / GATHERED


def data_folder(run: Run, train: TrainConfig) -> Path:
    """Return the folder with the index of what is trained on."""
    if train.data is None:
        return run.path / DATASET
    return named_folder(train.data) if is_indexed(train) else gathered_folder(run)


def broken_files(run: Run) -> list[Path]:
    """Return the files in which ranks told of broken samples: a list of [number, name, reason] each."""
    return sorted(metrics_folder(run).glob("*.broken.json"))


def broken_file(run: Run, attempt: str, number: int, rank: int) -> Path:
    """Return the file in which one rank tells of broken samples."""
    return metrics_folder(run) / f"{attempt}-{number}-{rank}.broken.json"
