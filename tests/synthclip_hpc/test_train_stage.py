"""The stage `train` as a user meets it: killed, resumed, damaged, changed in between; and what it leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")

from sharding.inputs import bind_inputs, load_inputs  # noqa: E402
from sharding.journal import read_events  # noqa: E402
from synthclip_hpc.training.loop import Loop  # noqa: E402
from tests.synthclip_hpc.app import App, tree  # noqa: E402
from tests.synthclip_hpc.training import trained_runs  # noqa: E402
from tests.synthclip_hpc.training.trained_runs import (  # noqa: E402
    BATCH,
    STEPS,
    STEPS_AN_EPOCH,
    checkpoints,
    errors,
    merged,
    ranks_here,
    train,
)

__all__ = ["ranks_here"]
pytestmark = [pytest.mark.engines, pytest.mark.timeout(600)]
EXPORT = ["checksums.sha256", "metrics.jsonl", "open_clip_config.json", "open_clip_model.safetensors"]


@pytest.fixture
def run(app, ranks_here) -> App:
    """A run that ends with its data set; what trains it is called in this process."""
    return merged(app.path)


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> dict[str, bytes]:
    """The exported folder of a training that nothing happened to."""
    with pytest.MonkeyPatch.context() as patch:
        trained_runs.call_ranks_here(patch)
        app = merged(tmp_path_factory.mktemp("calm") / "run")
        assert train(app).code == 0
    return exported(app)


def exported(app: App) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((app.path / "train/export").iterdir())}


def stop_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """Let the training fail behind the checkpoint of this step with an error of its own."""
    save = Loop._save

    def failing(self: Loop, at: int) -> None:
        save(self, at)
        if at >= step:
            raise KeyError("a bug at this step")

    patch.setattr(Loop, "_save", failing)


def interrupted(run: App, monkeypatch, step: int = 4, *words: str) -> None:
    """Train until a checkpoint of this step at least stands, and fail behind it."""
    with monkeypatch.context() as patch:
        stop_at(patch, step)
        outcome = train(run, *words)
    assert outcome.code != 0
    assert checkpoints(run) == [step - 2, step] and not (run.path / "train/export").exists()


def test_a_finished_training_leaves_model_metrics_and_plots(run, calm):
    outcome = train(run)
    assert outcome.code == 0, outcome
    assert exported(run) == calm
    assert sorted(calm) == EXPORT
    rows = [json.loads(line) for line in calm["metrics.jsonl"].splitlines()]
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert {"loss.png", "metrics.jsonl", "outcome.json", "checkpoints", "export"} <= set(os.listdir(run.path / "train"))
    assert checkpoints(run)[-1] == STEPS and len(checkpoints(run)) == 2
    told = json.loads((run.path / "train/outcome.json").read_bytes())
    assert told == {"step": STEPS, "samples": STEPS * BATCH, "loss": rows[-1]["loss"], "broken_samples": 0}
    assert f"after {STEPS} steps, {STEPS * BATCH} samples" in outcome.words
    assert run.status()["stages"]["train"]["state"] == "done"
    assert run("verify").code == 0


def test_the_export_is_the_checkpoints_model_in_open_clip(run):
    assert train(run).code == 0
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{run.path / 'train/export'}")
    model.eval()
    state = torch.load(run.path / f"train/checkpoints/step-{STEPS:08d}/state.pt", weights_only=True)["model"]
    same = open_clip.create_model_and_transforms(f"local-dir:{run.path / 'train/export'}")[0].eval()
    same.load_state_dict({name: torch.zeros_like(value) for name, value in same.state_dict().items()})
    same.load_state_dict(state)
    images = torch.rand(4, 3, 64, 64)
    tokens = open_clip.get_tokenizer(f"local-dir:{run.path / 'train/export'}")(["a cat", "a red dog", "😀", "x"])
    with torch.no_grad():
        for one, other in zip(model(images, tokens), same(images, tokens), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
    assert tokens.shape == (4, 12)
    assert "mean=[0.485, 0.456, 0.406]" in str(preprocess)


def test_a_training_that_failed_goes_on_from_its_checkpoint_to_the_same_bytes(run, calm, monkeypatch):
    interrupted(run, monkeypatch)
    assert "KeyError" in str(errors(run))
    outcome = run("resume", "wait=true")
    assert outcome.code == 0, outcome
    assert exported(run) == calm


def test_execution_keys_can_change_in_between_and_change_nothing(run, calm, monkeypatch):
    interrupted(run, monkeypatch)
    outcome = run(
        "resume", "wait=true", "train.loader_workers=2", "train.checkpoint_steps=5", "train.prefetch_batches=3"
    )
    assert outcome.code == 0, outcome
    assert exported(run) == calm
    assert checkpoints(run) == [10, STEPS]


def test_identity_keys_cannot(run, monkeypatch):
    interrupted(run, monkeypatch)
    before = checkpoints(run)
    outcome = train(run, "train.lr=2e-3")
    assert outcome.code == 2
    assert "train.lr" in outcome.words and "0.001" in outcome.words and "0.002" in outcome.words
    assert checkpoints(run) == before


def test_a_damaged_newest_checkpoint_is_told_and_the_one_before_taken(run, calm, monkeypatch, capfd):
    interrupted(run, monkeypatch)
    older, newest = checkpoints(run)[-2:]
    damage(run.path / f"train/checkpoints/step-{newest:08d}/state.pt")
    capfd.readouterr()
    outcome = run("resume", "wait=true")
    assert outcome.code == 0, outcome
    told = outcome.err + capfd.readouterr().err
    assert f"BROKEN CHECKPOINT skipped: {run.path}/train/checkpoints/step-{newest:08d}: state.pt has the sha256" in told
    assert f"going on from step-{older:08d}" in told
    assert exported(run) == calm


def damage(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def test_checkpoints_that_are_all_damaged_are_listed_with_what_to_do(run, calm, monkeypatch):
    interrupted(run, monkeypatch)
    older, newest = checkpoints(run)[-2:]
    damage(run.path / f"train/checkpoints/step-{newest:08d}/state.pt")
    (run.path / f"train/checkpoints/step-{older:08d}/checkpoint.json").write_text("{")
    outcome = run("resume", "wait=true")
    assert outcome.code != 0
    told = str(errors(run))
    assert "no checkpoint can be used" in told and f"step-{older:08d}" in told and f"step-{newest:08d}" in told
    assert f"mv {run.path}/train/checkpoints" in told
    # As told: away with them, and the training begins anew.
    folder = run.path / "train/checkpoints"
    folder.rename(folder.with_name("checkpoints.broken"))
    outcome = run("resume", "wait=true")
    assert outcome.code == 0, outcome
    assert exported(run) == calm


def test_a_tar_that_goes_away_is_named_and_the_training_goes_on_when_it_is_back(run, calm, monkeypatch):
    interrupted(run, monkeypatch)
    tars = sorted((run.path / "dataset/shards").glob("*.tar"))
    assert len(tars) == 4
    tars[2].rename(run.path / "away.tar")
    outcome = run("resume", "wait=true")
    assert outcome.code != 0
    assert tars[2].name in str(errors(run)), errors(run)
    (run.path / "away.tar").rename(tars[2])
    outcome = run("resume", "wait=true")
    assert outcome.code == 0, outcome
    assert exported(run) == calm


def test_a_data_set_made_anew_with_other_content_is_refused(run, monkeypatch):
    interrupted(run, monkeypatch)
    # As if the data set had been made anew in the meantime: its seal is not the one that this training is bound to.
    directory = run.run.phase("train", "fit")
    bound = load_inputs(directory)
    assert bound and "merge/index" in bound
    directory.inputs_path.unlink()
    bind_inputs(directory, {**bound, "merge/index": "0" * 16})
    outcome = run("resume", "wait=true")
    assert outcome.code != 0
    told = outcome.words + str(errors(run))
    assert "merge/index" in told and "0000000000000000" in told and bound["merge/index"] in told, told
    assert checkpoints(run) == [2, 4]
    assert not (run.path / "train/export").exists()


def test_a_damaged_export_is_found_and_made_again(run, calm):
    assert train(run).code == 0
    damage(run.path / "train/export/open_clip_model.safetensors")
    outcome = run("verify", "stage=train")
    # The weights are one file under two names, so the phase's own output is found damaged.
    assert outcome.code == 1 and "shard 0" in outcome.words and "00000.safetensors" in outcome.words
    assert run("repair", "stage=train").code == 0
    outcome = run("resume", "wait=true")
    assert outcome.code == 0, outcome
    assert run("verify", "stage=train").code == 0
    assert exported(run) == calm


def test_a_file_missing_in_the_export_is_found(run):
    assert train(run).code == 0
    (run.path / "train/export/open_clip_config.json").unlink()
    outcome = run("verify", "stage=train")
    assert outcome.code == 1 and "open_clip_config.json" in outcome.words


def test_a_new_training_starts_from_exported_weights_with_a_schedule_of_its_own(run, tmp_path, ranks_here):
    assert train(run).code == 0
    init = run.path / "train/export"
    tuned = merged(tmp_path / "tuned")
    # With a learning rate of nothing the weights stay what they were at the start.
    words = (f"train.init={init}", "train.lr=1e-30", "train.warmup_lr=1e-30", "train.final_lr=0", "train.epochs=1")
    outcome = train(tuned, *words)
    assert outcome.code == 0, outcome
    rows = [json.loads(line) for line in exported(tuned)["metrics.jsonl"].splitlines()]
    assert [row["step"] for row in rows] == list(range(1, STEPS_AN_EPOCH + 1))
    names = {name for name, _ in open_clip.create_model(f"local-dir:{init}").named_parameters()}
    from safetensors.torch import load_file

    before, after = (
        load_file(folder / "open_clip_model.safetensors") for folder in (init, tuned.path / "train/export")
    )
    assert names <= before.keys() == after.keys()
    torch.testing.assert_close({name: after[name] for name in names}, {name: before[name] for name in names})


def test_weights_that_are_not_there_are_told_at_submission(run):
    outcome = train(run, "train.init=/nowhere/export")
    assert outcome.code == 2 and "train.init=/nowhere/export" in outcome.words
    assert not (run.path / "train").exists()


def test_a_batch_larger_than_the_data_set_is_told_at_submission(run):
    outcome = train(run, "train.batch_size=64")
    assert outcome.code == 2
    assert "train.batch_size=64: an epoch has 60 samples" in outcome.words
    assert not (run.path / "train/checkpoints").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("train.device=cuda",), "train.device=cuda: there is no GPU"),
        (("train.processes_per_node=3",), "train.batch_size=8 cannot be shared evenly by 3 ranks"),
        (("train.accumulate=3",), "train.accumulate=3 does not divide a rank's share"),
        (("train.precision=float16",), "train.precision=float16: on the CPU"),
        (("train.warmup_epochs=2",), "train.warmup_epochs=2"),
    ],
)
def test_what_cannot_be_is_told_at_submission(run, words, told, monkeypatch):
    monkeypatch.setattr("synthclip_hpc.place.count_gpus", lambda devices, environ: 0)
    outcome = train(run, *words)
    assert outcome.code == 2, outcome
    assert told in outcome.words
    assert not (run.path / "train/checkpoints").exists()


def test_a_disk_that_is_full_while_saving_does_not_stop_the_training(run, calm, monkeypatch, capfd):
    """The checkpoints lie on a file system that has room for half of one."""
    if os.geteuid() != 0:
        pytest.skip("a small file system can only be mounted as root")
    folder = run.path / "train/checkpoints"
    folder.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system may be mounted here: {mounted.stderr!r}")
    try:
        outcome = train(run)
        assert outcome.code == 0, outcome
        told = outcome.err + capfd.readouterr().err
        assert "NOT SAVED, 1 so far: checkpoint of step 2: No space left on device" in told
        assert "training goes on" in told
        assert checkpoints(run) == []
        assert exported(run) == calm
        events = [one for path in (run.path / "train/fit/journals").glob("*.jsonl") for one in read_events(path)[0]]
        failed = [one for one in events if one["event"] == "checkpoint"]
        assert len(failed) == STEPS // 2 and all("No space left" in one["error"] for one in failed)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_training_without_matplotlib_is_published_all_the_same(run, calm, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert train(run).code == 0
    assert exported(run) == calm
    assert not (run.path / "train/loss.png").exists()


def test_a_training_whose_metrics_are_lost_is_published_all_the_same(run, monkeypatch):
    from synthclip_hpc.training.metrics import MetricsWriter

    monkeypatch.setattr(MetricsWriter, "_append", lambda self, rows: None)
    monkeypatch.setattr(MetricsWriter, "sync", lambda self: None)
    outcome = train(run)
    assert outcome.code == 0, outcome
    assert sorted(exported(run)) == EXPORT and exported(run)["metrics.jsonl"] == b""
    assert run("verify", "stage=train").code == 0


def test_an_export_that_fails_leaves_the_last_checkpoint_to_go_on_from(run, calm, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("synthclip_hpc.training.trainer.export_open_clip", full)
        assert train(run).code != 0
    assert checkpoints(run)[-1] == STEPS
    before = tree(run.path / "train/checkpoints")
    outcome = run("resume", "wait=true")
    assert outcome.code == 0, outcome
    assert exported(run) == calm
    assert tree(run.path / "train/checkpoints") == before


def children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def until(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


class KilledRank(threading.Thread):
    """Kills one rank of two with SIGKILL as soon as a checkpoint stands."""

    def __init__(self, run: Path) -> None:
        super().__init__(daemon=True)
        self.run_path, self.agent, self.failure = run, 0, ""
        self.pids: list[int] = []
        self.others = children(os.getpid())  # of other tests, such as torch's compiler, which stays

    def run(self) -> None:
        try:
            until(lambda: list((self.run_path / "train/checkpoints").glob("step-*")))
            (self.agent,) = set(children(os.getpid())).difference(self.others)
            self.pids = children(self.agent)
            os.kill(self.pids[1], signal.SIGKILL)
        except Exception as error:
            self.failure = repr(error)


def test_two_ranks_of_torchrun_one_of_them_killed_come_to_the_bytes_of_two_that_were_not(app, at_once, tmp_path):
    outcomes = []
    others = children(os.getpid())
    for name in ("calm", "killed"):
        run = merged(tmp_path / name)
        killer = KilledRank(run.path) if name == "killed" else None
        if killer:
            killer.start()
        outcome = train(run, "train.processes_per_node=2", "train.loader_workers=1")
        assert outcome.code == 0, outcome
        events = [one for path in (run.path / "train/fit/journals").glob("*.jsonl") for one in read_events(path)[0]]
        ends = [one["outcome"] for one in events if one["event"] == "round_ended"]
        if killer:
            killer.join()
            assert not killer.failure and len(killer.pids) == 2
            assert ends == ["lost", "finished"]
            assert not any(Path(f"/proc/{pid}").exists() for pid in (killer.agent, *killer.pids))
        else:
            assert ends == ["finished"]
        outcomes.append(exported(run))
        assert children(os.getpid()) == others
        shutil.rmtree(run.path)
    assert outcomes[0] == outcomes[1]
