"""Phase `fit`: one job on all its nodes trains the model, from checkpoint to checkpoint, and exports it.

What a kill at any moment leaves is whole: checkpoints and the exported folder appear by one rename, and the weights are
published last. Whoever finds this phase done finds `train/export/` whole.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharding.files import remove
from sharding.marker import Counts, Promise
from sharding.plan import Plan, ShardRange, load_plan
from slurm.torchrun import Node
from synthclip_hpc.config import RunConfig
from synthclip_hpc.dataset import folder as whole_folder
from synthclip_hpc.stages.phase import Estimate, Phase, ShardTask, Sources
from synthclip_hpc.stages.train.index import check_unchanged
from synthclip_hpc.stages.train.mix import check_names_of_mix
from synthclip_hpc.stages.train.size import check_batch, samples_an_epoch
from synthclip_hpc.training import places
from synthclip_hpc.training.evaluated_epochs import evaluated_epochs
from synthclip_hpc.training.gang import Job, accompany, lead
from synthclip_hpc.training.identity import identity_of
from synthclip_hpc.training.outcome_files import add_outcome, fault_of_export, tail
from synthclip_hpc.training.rounds import Round
from synthclip_hpc.training.settings import check_settings

if TYPE_CHECKING:
    from sharding.directory import PhaseDirectory
    from slurm.attempt import Attempt
    from slurm.signals import StopFlag
    from synthclip_hpc.place import Place
    from synthclip_hpc.run import Run
    from synthclip_hpc.submissions import Submission

SUFFIX = ".safetensors"
_TELL_EVERY_S = 10.0


def layout(config: RunConfig, sources: Sources) -> Plan:
    """One job for all epochs, which are its items; the data set is bound as an input."""
    check_settings(config.train)
    check_names_of_mix(config)
    check_batch(config, sources.run)
    evaluated_epochs(config.eval.checkpoints, config.train.epochs)  # ranks could only fail of what it refuses
    epochs = config.train.epochs
    return Plan(
        stage="train",
        phase="fit",
        kind="gang",
        num_items=epochs,
        shard_items=epochs,
        suffix=SUFFIX,
        identity=identity_of(config),
    )


def job_of(run: Run, config: RunConfig, submission: str, attempt: str, node: Node) -> Job:
    """Return what the workers of all nodes know of one attempt."""
    train = config.train
    processes = str(train.processes_per_node or ("gpu" if train.device == "cuda" else 1))
    directory = run.phase("train", "fit")
    return Job(directory, str(run.path), submission, attempt, node, processes, train.start_timeout_s, train.threads)


@contextmanager
def open_trainer(config: RunConfig, run: Run, plan: Plan) -> Iterator[Callable[[ShardTask], None]]:
    """Yield the function that trains: the worker's part of it on the first node."""

    def process(task: ShardTask) -> None:
        task.resumed(0)
        check_unchanged(config, run)
        submission = str(task.provenance["submission"])
        # A worker without Slurm may well run inside of somebody's allocation.
        environment = {} if task.attempt.startswith("local") else os.environ
        job = job_of(run, config, submission, task.attempt, Node.from_environment(environment, os.uname().nodename))
        watch = _Watch(run, task, plan.num_items)
        number = lead(job, task.safe_point, watch.look, task.journal.event)
        _publish(task, run, Round.of(task.directory, task.attempt, number), plan)

    yield process


class _Watch:
    """Follows the metrics of the round at work, and tells the journal of them now and then."""

    def __init__(self, run: Run, task: ShardTask, epochs: int) -> None:
        self._run, self._task, self._epochs = run, task, epochs
        self._number, self._offset = -1, 0
        self._newest: dict[str, Any] = {}
        self._told_at = 0.0

    def look(self, number: int) -> int | None:
        """Return the newest step that rank 0 has told of in this round; None before the first."""
        if number != self._number:
            self._number, self._offset, self._newest = number, 0, {}
        path = places.metrics_file(self._run, self._task.attempt, number)
        try:
            lines, self._offset = tail(path, self._offset)
        except OSError as error:  # a shared file system's hiccup is no reason to end a training
            self._task.journal.event("metrics_unread", message=str(error))
            lines = []
        for line in lines:
            if line.get("kind") == "checkpoint":
                told = {key: value for key, value in line.items() if key not in ("kind", "time")}
                self._task.journal.event("checkpoint", **told)
            else:
                self._newest |= line
        if "step" in self._newest and time.monotonic() - self._told_at >= _TELL_EVERY_S:
            self._told_at = time.monotonic()
            known = ("step", "epoch", "loss", "samples_per_s", "data_wait_s")
            self._task.journal.event("training", **{key: self._newest[key] for key in known if key in self._newest})
            self._task.progress(min(int(self._newest.get("epoch", 0)), self._epochs))
        step: int | None = self._newest.get("step")
        return step


def _publish(task: ShardTask, run: Run, one: Round, plan: Plan) -> None:
    """Put the export in its place, with what else the training leaves, and publish the weights."""
    staged = places.staged_export(one)
    weights = task.directory.staged_path(0, task.attempt, SUFFIX)
    add_outcome(run, staged, task.journal.event)
    remove(weights)
    weights.parent.mkdir(parents=True, exist_ok=True)
    whole_folder.link(staged / "open_clip_model.safetensors", weights, weights)
    task.safe_point()
    whole_folder.exchange(staged, places.export_folder(run), staged.with_name("old-export"))
    task.publish(weights, Counts(plan.num_items, plan.num_items, 0, {}))


def accompany_on_slurm(run: Run, submission: Submission, attempt: Attempt, stop: StopFlag) -> None:
    """Be the worker of another node than the first. Raises slurm.signals.Stopped after a signal."""
    from sharding.marker import is_done

    node = Node.from_environment(os.environ, attempt.node)
    job = job_of(run, submission.config, submission.name, attempt.name, node)
    plan = load_plan(job.directory)
    accompany(job, stop.check, lambda: plan is not None and is_done(job.directory, plan, 0))


def inspect(run: Run, path: Path, plan: Plan, shard: ShardRange) -> Counts:
    """Look whether the published weights are whole. Raises ValueError when they are not."""
    from synthclip_hpc.models.safetensors_file import is_whole

    if not is_whole(path):
        raise ValueError(f"{path} is cut short or damaged")
    return Counts(plan.num_items, plan.num_items, 0, {})


def upstream(config: RunConfig) -> tuple[tuple[str, str], ...]:
    """Return what is trained on: the run's own data set, or what `train.data` names and what was made of it."""
    return (("merge", "index"),) if config.train.data is None else (("train", "index"), ("train", "gather"))


def check_place(config: RunConfig, place: Place) -> None:
    """Raise UserError when the ranks could not train where they are going to run."""
    from synthclip_hpc.training.preflight import check_place as check

    check(config.train, place)


def promise(config: RunConfig) -> Promise:
    """Return `bytes` on the CPU, with the same number of ranks to the end; kernels of GPUs promise nothing."""
    return "bytes" if config.train.device == "cpu" else "items"


def estimate(config: RunConfig) -> Estimate:
    """Return what an epoch costs: by what the configuration tells of its size."""
    samples = samples_an_epoch(config, None) or config.balance.target or 1_000_000
    if config.train.device == "cpu":
        return Estimate((1e5, 1e9), (samples / 1500, samples / 100), "measured: small models on one CPU core")
    return Estimate(
        (1e5, 1e9), (samples / 2500, samples / 338), "published: ViT-B/16, 338 samples/s on an A100", device="GPU"
    )


def summary(directory: PhaseDirectory, plan: Plan) -> list[str]:
    """Return what a command tells of the trained model."""
    folder = directory.path.parent
    lines = [f"model:   {folder / 'export'} (open_clip loads local-dir:{folder / 'export'})"]
    told = folder / "outcome.json"
    if told.exists():
        found = json.loads(told.read_bytes())
        lines.insert(0, f"loss:    {found['loss']:.4f} after {found['step']:,} steps, {found['samples']:,} samples")
        if found["broken_samples"]:
            lines.append(f"broken samples, each replaced by another: {found['broken_samples']:,}")
        lines.append(f"look at: {folder / 'loss.png'}")
    return lines


PHASE = Phase(
    stage="train",
    name="fit",
    kind="gang",
    upstream=upstream,
    layout=layout,
    open=open_trainer,
    inspect=inspect,
    estimate=estimate,
    promise=promise,
    threads=lambda config: config.train.threads * max(1, config.train.processes_per_node),
    gpus=lambda config: 0 if config.train.device == "cpu" else max(1, config.train.processes_per_node),
    check_place=check_place,
    summary=summary,
    fault_beside=fault_of_export,
)
