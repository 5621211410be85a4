"""TensorBoard and Weights & Biases: asked for, missing, failing."""

from __future__ import annotations

import sys
import types

import pytest

from synthclip_hpc.errors import UserError
from synthclip_hpc.training.sinks import Sinks, open_sinks

ROW = {"step": 3, "epoch": 0, "samples": 24, "loss": 2.5, "lr": 0.1, "logit_scale": 14.0, "grad_norm": None}


class Recorder:
    def __init__(self, fails: bool = False) -> None:
        self.logged: list = []
        self.fails, self.closed = fails, False

    def log(self, step, values):
        if self.fails:
            raise ConnectionError("no route")
        self.logged.append((step, dict(values)))

    def close(self):
        self.closed = True


def asked(tmp_path, **changes):
    return open_sinks(
        **{
            "tensorboard": False,
            "wandb": None,
            "folder": tmp_path,
            "run_id": "0a1b2c3d",
            "first_step": 3,
            "config": {"lr": 0.1},
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("package", "changes", "key"),
    [
        ("torch.utils.tensorboard", {"tensorboard": True}, "train.tensorboard=true"),
        ("wandb", {"wandb": "clip"}, "train.wandb=clip"),
    ],
)
def test_a_missing_package_is_told_at_the_start(tmp_path, monkeypatch, package, changes, key):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f"{key}.*pip install"):
        asked(tmp_path, **changes)


def test_nothing_is_imported_unless_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setitem(sys.modules, "wandb", None)
    sinks = asked(tmp_path)
    sinks.log(ROW)
    sinks.close()
    assert list(tmp_path.iterdir()) == []


def test_every_life_goes_on_with_the_same_run_and_sends_no_code(tmp_path, monkeypatch):
    calls: list[dict] = []
    recorder = Recorder()
    run = types.SimpleNamespace(log=lambda values, step: recorder.log(step, values), finish=recorder.close)

    def init(**words):
        calls.append(words)
        return run

    fake = types.ModuleType("wandb")
    fake.Settings = dict  # type: ignore[attr-defined]
    fake.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for _life in range(2):
        sinks = asked(tmp_path, wandb="clip")
        sinks.log(ROW)
        sinks.close()
    assert calls[0] == calls[1] and calls[0]["id"] == "synthclip-0a1b2c3d" and calls[0]["resume"] == "allow"
    assert calls[0]["settings"] == {"console": "off", "disable_code": True, "disable_git": True}
    assert calls[0]["config"] == {"lr": 0.1} and recorder.closed
    step, values = recorder.logged[0]
    assert step == 3 and values["train/loss"] == 2.5 and "train/grad_norm" not in values


def test_tensorboard_hides_what_an_earlier_life_logged_from_the_first_step_on(tmp_path, monkeypatch):
    made: list = []

    class Writer:
        def __init__(self, log_dir, purge_step):
            made.append((log_dir, purge_step))

        def add_scalar(self, title, value, step):
            made.append((title, value, step))

        def close(self):
            made.append("closed")

    fake = types.ModuleType("torch.utils.tensorboard")
    fake.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    sinks = asked(tmp_path, tensorboard=True)
    sinks.log(ROW)
    sinks.close()
    assert made[0] == (str(tmp_path / "tensorboard"), 3)
    assert ("train/loss", 2.5, 3) in made and made[-1] == "closed"


def test_a_sink_that_fails_is_left_out_and_the_others_go_on():
    told: list[str] = []
    bad, good = Recorder(fails=True), Recorder()
    sinks = Sinks([bad, good], told.append)
    sinks.log(ROW)
    sinks.log({**ROW, "step": 4})
    sinks.close()
    assert [step for step, _ in good.logged] == [3, 4] and good.closed and not bad.closed
    assert told == ["Recorder gets no more metrics (ConnectionError: no route)"]
