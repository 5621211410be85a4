"""One attempt at its share of a phase: shard after shard, skipping what is done, noting what fails."""

from __future__ import annotations

import dataclasses
import errno
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharding.directory import PhaseDirectory
from sharding.files import is_gone
from sharding.inputs import bind_inputs
from sharding.journal import Journal
from sharding.marker import MarkerError, Promise, done_marker, is_done
from sharding.plan import Plan, check_bound
from sharding.publication import Inspect, adopt_output
from sharding.seal import load_seal
from slurm.signals import Stopped
from synthclip_hpc import provenance
from synthclip_hpc.errors import UserError
from synthclip_hpc.gpu_samples import sampled_gpu
from synthclip_hpc.lanes import LaneEnded, Lanes, SafePoint
from synthclip_hpc.models.start_delay import start_delay_s
from synthclip_hpc.own_frames import frame_of
from synthclip_hpc.run import Run
from synthclip_hpc.stages.phase import Phase, ShardTaken, ShardTask

if TYPE_CHECKING:
    from synthclip_hpc.config import RunConfig

# After one of these the next shard would fail as well: the attempt ends, with the reason, and `resume` goes on later.
_HOPELESS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENODEV}


@dataclass
class Bench:
    """An attempt's place at a phase: everything that stays the same from shard to shard."""

    run: Run
    phase: Phase
    plan: Plan
    config: RunConfig
    attempt: str
    journal: Journal
    inputs_hash: str
    stop: SafePoint | None = None
    started: float = field(default_factory=time.monotonic)
    submission: str | None = None
    """Its name; None when the command that submits does the work itself."""
    num_elements: int = 1
    """Elements of the submission, which may all start at once."""
    check_node: Callable[[], None] = lambda: None
    """Raises synthclip_hpc.node_check.NodeUnfit where work would be in vain; called before any is done."""

    @property
    def directory(self) -> PhaseDirectory:
        return self.run.phase(self.phase.stage, self.phase.name)

    @property
    def inspect(self) -> Inspect:
        return partial(self.phase.inspect, self.run)

    @property
    def promise(self) -> Promise:
        return self.phase.promise(self.config)

    @property
    def provenance(self) -> dict[str, Any]:
        return {**provenance.of_process(), "submission": self.submission, "attempt": self.attempt}

    def task(self, shard: int) -> ShardTask:
        """Return the task of one shard."""
        return ShardTask(
            directory=self.directory,
            plan=self.plan,
            shard=self.plan.shard(shard),
            attempt=self.attempt,
            inputs_hash=self.inputs_hash,
            promise=self.promise,
            inspect=self.inspect,
            journal=self.journal,
            provenance=self.provenance,
            stop=self.stop,
            attempt_started=self.started,
        )


def bound_inputs(run: Run, phase: Phase, config: RunConfig) -> str:
    """Bind the phase to the seals it builds on; return that binding's hash. Raises UserError when one is missing."""
    inputs = {}
    for stage, name in phase.upstream(config):
        seal = load_seal(run.phase(stage, name))
        if seal is None:
            raise UserError(f"{phase.key} builds on {stage}/{name}, which is not sealed; run: resume run={run.path}")
        inputs[f"{stage}/{name}"] = seal.hash
    return bind_inputs(run.phase(phase.stage, phase.name), inputs)


def work(bench: Bench, shards: list[int], error_limit: int) -> list[int]:
    """Do the shards that are not done yet; return those that failed with an error of our own.

    Raises slurm.signals.Stopped at a safe point after a signal; OSError when no further shard could succeed.
    """
    failed: list[int] = []
    todo = [shard for shard in shards if not _finished(bench, shard)]
    if not todo:
        return failed
    bench.check_node()
    with ExitStack() as stack:
        if num_gpus := bench.phase.gpus(bench.config):
            _wait(bench)
            stack.enter_context(sampled_gpu(bench.journal, num_gpus))
        started = time.monotonic()
        process = stack.enter_context(bench.phase.open(bench.config, bench.run, bench.plan))
        bench.journal.event("ready", seconds=round(time.monotonic() - started, 3))
        num_lanes = min(bench.phase.lanes(bench.config), len(todo))
        if num_lanes == 1:
            _work_off(bench, process, todo, failed, error_limit)
        else:
            lanes = Lanes(bench.stop)
            in_lane = dataclasses.replace(bench, stop=lanes)
            lanes.run(num_lanes, todo, lambda share: _work_off(in_lane, process, share, failed, error_limit))
    return failed


def _wait(bench: Bench) -> None:
    """Let the many elements that start in the same second not read the same weights all at once."""
    until = time.monotonic() + start_delay_s(bench.attempt, bench.num_elements)
    while (left := until - time.monotonic()) > 0:
        if bench.stop is not None:
            bench.stop.check()
        time.sleep(min(1.0, left))


def _work_off(
    bench: Bench, process: Callable[[ShardTask], None], shards: Iterable[int], failed: list[int], error_limit: int
) -> bool:
    """Do one shard after the other; what fails is added to `failed`. False when that have become too many."""
    for shard in shards:
        if bench.stop is not None:
            bench.stop.check()
        try:
            if not _finished(bench, shard):
                process(bench.task(shard))
        except ShardTaken:
            bench.journal.event("shard_taken", shard=shard)
        except (Stopped, LaneEnded):
            raise
        except Exception as error:
            if _is_superseded(bench, shard, error):
                bench.journal.event("shard_taken", shard=shard)
                continue
            bench.journal.event("shard_failed", shard=shard, **describe(error))
            traceback.print_exc()
            failed.append(shard)
            if is_hopeless(error):
                raise
            if len(failed) > error_limit:
                return False
    return True


def _finished(bench: Bench, shard: int) -> bool:
    """Tell whether a shard is done; an output that lacks its marker is verified and gets it."""
    try:
        done_marker(bench.directory, bench.plan, shard)
        return True
    except MarkerError:
        task = bench.task(shard)
    check_bound(bench.directory, bench.plan)  # what another plan has made is not ours to move aside
    marker = adopt_output(
        bench.directory,
        bench.plan,
        shard,
        bench.inspect,
        inputs_hash=bench.inputs_hash,
        promise=bench.promise,
        provenance={**bench.provenance, "adopted": True, "finished": time.time()},
    )
    if marker is None:
        return False
    task.shard_done(marker.counts, marker.size_bytes, new=0, adopted=True)
    return True


def _is_superseded(bench: Bench, shard: int, error: Exception) -> bool:
    """Tell whether an attempt failed only because the shard's winner cleared its files away under it."""
    return isinstance(error, OSError) and is_gone(error) and is_done(bench.directory, bench.plan, shard)


def describe(error: BaseException) -> dict[str, Any]:
    """Return what a journal keeps of an error."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else ""
    frame = frame_of(error.__traceback__)
    told = {"type": type(error).__name__, "message": str(error)[:2000], "where": where, "frame": frame}
    if is_hopeless(error):
        # On a full disk a short line may still find room where a long one does not, and the reason is all there is.
        return told
    return told | {"traceback": "".join(traceback.format_exception(error))[-8000:]}


def is_hopeless(error: BaseException) -> bool:
    """Tell whether the next shard would fail for the same reason."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _HOPELESS)
