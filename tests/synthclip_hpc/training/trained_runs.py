"""Runs that are trained in a test: 60 emoji scenes of 64 px in 4 tars, a tiny model, 7 steps an epoch.

Ranks of torchrun import torch for seconds. Where a test is of what a rank does, not of processes, it is called here.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest

from slurm.torchrun import Meeting
from synthclip_hpc.errors import UserError
from synthclip_hpc.run import Run
from synthclip_hpc.sealing import last_errors
from synthclip_hpc.submissions import load_submission
from synthclip_hpc.training import gang
from synthclip_hpc.training.gang import Job
from synthclip_hpc.training.rounds import RankError, Round
from synthclip_hpc.training.stop_word import StopEar, StopWord
from tests.synthclip_hpc.app import App, Outcome, made_once, work_off

IMAGES, BATCH, EPOCHS = 60, 8, 2
STEPS_AN_EPOCH = IMAGES // BATCH
STEPS = EPOCHS * STEPS_AN_EPOCH
DATA = (
    "preset=laptop", "captions.per_concept=5", "concepts.limit=16", "render.size=64", f"balance.target={IMAGES}",
    "balance.shard_items=15", "workers=1",
)  # fmt: skip
TRAIN = (
    "train.model=resnet-tiny", "train.device=cpu", f"train.epochs={EPOCHS}", f"train.batch_size={BATCH}",
    "train.lr=1e-3", "train.warmup_epochs=0.5", "train.chunk_samples=8", "train.group_chunks=2", "train.lanes=2",
    "train.loader_workers=0", "train.checkpoint_min=0", "train.checkpoint_steps=2",
)  # fmt: skip


def merged(path: Path) -> App:
    """Return a run at `path` that ends with its data set. With the fixture `at_once`."""

    def make(app: App) -> None:
        outcome = app("submit", "stage=captions,balance,render,merge", *DATA)
        assert outcome.code == 0, outcome
        assert (app.path / "dataset/index.parquet").is_file(), outcome

    return made_once(path, DATA, make)


def train(app: App, *words: str) -> Outcome:
    """Submit the training, and wait for it. Later words win."""
    given = {word.partition("=")[0]: word for word in (*TRAIN, *words)}
    return app("submit", "stage=train", "wait=true", *given.values())


def rank_here(job: Job, number: int, meeting: Meeting, safe_point: Any, look: Any) -> tuple[int, BaseException | None]:
    """In place of torchrun: be the only rank, in this process. As a rank does, tell of errors in the round's folder."""
    from synthclip_hpc.training.trainer import train

    run = Run(Path(job.run))
    one = Round.of(job.directory, job.attempt, number)
    word = StopWord()
    try:
        one.end(train(run, load_submission(run, job.submission), job.attempt, number, StopEar(word.path)))
        return 0, None
    except Exception as error:
        kind = "user" if isinstance(error, UserError) else "own"
        one.fail(RankError(0, kind, type(error).__name__, str(error), "".join(traceback.format_exception(error))))
        return 1, None
    finally:
        word.close()
        look(number)


def call_ranks_here(patch: pytest.MonkeyPatch) -> None:
    """Let local trainings be worked off by the command itself, with the only rank in this process."""
    import torch

    torch.set_num_threads(1)
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}.items():
        patch.setenv(name, value)
    patch.setattr(gang, "_one_round", rank_here)
    patch.setattr("synthclip_hpc.launch.local.start_supervisor", work_off)


@pytest.fixture
def ranks_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks are called in this process, one a node."""
    call_ranks_here(monkeypatch)


def checkpoints(app: App) -> list[int]:
    """The steps of the published checkpoints."""
    return sorted(int(path.name.removeprefix("step-")) for path in (app.path / "train/checkpoints").glob("step-*"))


def errors(app: App) -> str:
    """What the training's last attempts failed of."""
    return " ".join(last_errors(app.run, "train", "fit").values())
