"""Takes snapshots: files first, `squeue` second, `sacct` last, each no more often than needed."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from slurm.queue import QueueSnapshot
from synthclip_hpc.config import RunConfig
from synthclip_hpc.launch.liveness import is_living, open_submissions
from synthclip_hpc.monitor.alarms import Scene, alarms_of
from synthclip_hpc.monitor.clusters import Clusters, Queues
from synthclip_hpc.monitor.evaluation import EvaluationWatch
from synthclip_hpc.monitor.failure_watch import FailureWatch
from synthclip_hpc.monitor.open_groups import OpenGroups
from synthclip_hpc.monitor.parts import EvaluationStatus, TrainingStatus
from synthclip_hpc.monitor.phase_watch import Around, PhaseWatch
from synthclip_hpc.monitor.snapshot import PhaseStatus, Snapshot, Source, StageStatus
from synthclip_hpc.monitor.stamps import Stamp, stamp
from synthclip_hpc.monitor.sums import sum_stage
from synthclip_hpc.monitor.training import TrainingBook
from synthclip_hpc.pipeline import phases_of
from synthclip_hpc.processes import is_alive
from synthclip_hpc.run import Run
from synthclip_hpc.stage_order import STAGES
from synthclip_hpc.submissions import Submission, all_submissions

SHARE_OF_A_CORE = 0.009
"""Looking again and again may cost so much: under a hundredth, with what the asking threads cost."""
_SOONEST_S, _LATEST_S = 2.0, 15.0
_IN_QUEUE_AFTER_S = 30.0
"""So long after it was claimed a submission's jobs are in the queue: `sbatch` may wait for a busy controller."""


class Watcher:
    """Takes snapshots of one run; the second and later ones read only what is new.

    Not for two threads at once. `pace_s` says when the next look is due.
    """

    def __init__(self, run: Run, patience_s: float | None = None, clock: Callable[[], float] | None = None) -> None:
        """`patience_s`: how long looks wait for an answer of Slurm; None for as long as it takes (10 s at most).

        With patience they are asked in threads: one that hangs leaves the caller alive, and its source says so.
        `clock`: seconds since 1970, in place of the host's (a run that is replayed).
        """
        self.run = run
        self.pace_s = _SOONEST_S
        """Seconds until the next look, so that looking costs SHARE_OF_A_CORE: 2 to 15."""
        self._clock = clock or time.time
        self._slurm = Clusters(patience_s, clock or time.monotonic)
        self._failures, self._open_groups = FailureWatch(), OpenGroups()
        self._training, self._evaluation = TrainingBook(), EvaluationWatch()
        self._watches: dict[str, PhaseWatch] = {}
        self._has_looked = False
        self._config: tuple[Stamp | None, RunConfig] | None = None

    def look(self) -> Snapshot:
        """Take one snapshot: a listing an active phase, one `squeue` if a job may be alive, `sacct` for the vanished.

        Raises UserError when the run's own records (run.toml, submissions) cannot be read, or are of a newer version.
        """
        cpu = time.thread_time()
        now = self._clock()
        submissions = all_submissions(self.run)
        watches = self._bound_phases()
        sealed = {watch.key for watch in watches if watch.is_sealed}
        open_ones = [*open_submissions(submissions), *filter(_winds_down, submissions)]
        candidates = [one for one in open_ones if f"{one.stage}/{one.phase}" not in sealed]
        queues = self._slurm.queues(candidates)
        alive = [one for one in candidates if _alive(one, queues)]
        around = Around(
            submissions=submissions,
            alive=alive,
            queues=queues,
            config=self._load_config(),
            ask_accounting=lambda jobs: self._slurm.ask_accounting(jobs, submissions),
            now=now,
            sealed=sealed,
        )
        with contextlib.nullcontext() if self._has_looked else _no_collections():
            told = {watch.key: watch.status(around) for watch in watches}
        training = self._training_status(around.config, now)
        if training is not None and told["train/fit"].running:
            # An epoch, which is an item there, may take a day: the steps tell better.
            told["train/fit"] = replace(told["train/fit"], eta_now=training.eta, eta_full=training.eta)
        sources = self._sources(queues.all, now)
        failures = self._failures.groups(now, at_once=not alive)
        known = {key: self._watches[key] for key in told}
        open_phases = {key for key, phase in told.items() if phase.state != "done"}
        scene = Scene(
            run=self.run,
            now=now,
            phases=told,
            stories={key: watch.journals.stories for key, watch in known.items()},
            submissions=submissions,
            alive=alive,
            is_settled=not any(_is_too_new(one, queues) for one in candidates),
            open_groups=self._open_groups.of(
                failures, open_phases, {key: watch.marked for key, watch in known.items()}
            ),
            sources=sources,
        )
        snapshot = Snapshot(
            run=str(self.run.path),
            time=now,
            stages=_stages(told),
            alive=bool(alive),
            sources=sources,
            alarms=alarms_of(scene),
            training=training,
            evaluation=self._evaluation_status(),
            failures=failures,
        )
        if self._has_looked:  # the first look is the dearest and says nothing of the next
            self.pace_s = min(max(_SOONEST_S, (time.thread_time() - cpu) / SHARE_OF_A_CORE), _LATEST_S)
        self._has_looked = True
        return snapshot

    def watch(self, key: str) -> PhaseWatch:
        """Return what is known of a phase, by `stage/phase`; KeyError before the first look, and without a plan."""
        return self._watches[key]

    def _bound_phases(self) -> list[PhaseWatch]:
        """Return the phases with a plan, in the order of the pipeline."""
        found = []
        for phase in (phase for stage in STAGES for phase in phases_of(stage)):
            watch = self._watches.get(phase.key)
            if watch is None:
                watch = self._watches[phase.key] = PhaseWatch(self.run, phase, self._failures.take)
                if phase.key == "train/fit":
                    listeners = {"training": self._training.took_steps, "checkpoint": self._training.saved}
                    watch.journals.listeners.update(listeners)
            watch.look_at_plan()
            if watch.is_known:
                found.append(watch)
        return found

    def _load_config(self) -> RunConfig:
        """Read run.toml anew when it has changed: commands may change keys of execution."""
        found = stamp(self.run.config_path)
        if found is None or self._config is None or self._config[0] != found:
            self._config = found, self.run.load_config()
        return self._config[1]

    def _sources(self, queue: QueueSnapshot, now: float) -> dict[str, Source]:
        sources = {
            "files": Source(max(0.0, self._clock() - now), None),
            "squeue": Source(max(0.0, now - queue.taken_at) if queue.taken_at else None, queue.error),
        }
        accounting = self._slurm.accounting
        if accounting is not None:
            sources["sacct"] = Source(max(0.0, now - accounting.taken_at), accounting.error)
        return sources

    def _training_status(self, config: RunConfig, now: float) -> TrainingStatus | None:
        watch = self._watches.get("train/fit")
        if watch is None or watch.plan is None:
            return None
        return self._training.status(
            watch.journals.stories.values(), watch.running, config.train.epochs, self._steps_per_epoch(config), now
        )

    def _steps_per_epoch(self, config: RunConfig) -> int | None:
        from synthclip_hpc.errors import UserError
        from synthclip_hpc.stages.train.size import samples_an_epoch

        try:
            samples = samples_an_epoch(config, self.run)
        except UserError:  # a mix that was moved since: the training goes on with what it has read
            samples = None
        return None if samples is None else samples // config.train.batch_size

    def _evaluation_status(self) -> EvaluationStatus | None:
        watch = self._watches.get("eval/cells")
        if watch is None or watch.plan is None:
            return None
        return self._evaluation.status(watch.directory, watch.plan, watch.marked, watch.open)


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """Spare the first look a fifth of its time: the collector would go through a hundred thousand events, in vain."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _stages(told: dict[str, PhaseStatus]) -> tuple[StageStatus, ...]:
    stages = []
    for stage in STAGES:
        keys = [phase.key for phase in phases_of(stage)]
        known = [told[key] for key in keys if key in told]
        if known:
            found = sum_stage(stage, known)
            left = [key for key in keys if key not in told]
            if found.state == "done" and left:
                # Their size was not known before: the command that made the others could not plan them.
                found = replace(found, state="partial", message=f"{left[0]} can be planned now: resume")
            stages.append(found)
    return tuple(stages)


def _is_too_new(one: Submission, queues: Queues) -> bool:
    """Tell whether the queue may have been asked before the jobs of a submission were in it."""
    taken_at = queues.of(one.job_names).taken_at
    return one.cluster == "slurm" and taken_at < float(one.record["created"]) + _IN_QUEUE_AFTER_S


def _winds_down(one: Submission) -> bool:
    """Tell whether a cancelled submission's workers are still here: local ones are seen, whatever `squeue` says."""
    return one.cluster == "local" and one.is_cancelled() and is_alive(one.record.get("supervisor"))


def _alive(one: Submission, queues: Queues) -> bool:
    queue = queues.of(one.job_names)
    if one.cluster == "slurm" and queue.error:
        return True  # not known; the view shows the error, and calling it dead would be the worse guess
    try:
        return is_living(one, queue)
    except ValueError:
        return True  # another host's supervisor: cannot be asked from here, and its journals still tell
