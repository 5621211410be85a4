"""Saving checkpoints beside training: copied at once, written in the background."""

from __future__ import annotations

import errno
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from synthclip_hpc.training.checkpoints.keeping import Keeper
from synthclip_hpc.training.checkpoints.layout import Manifest, published_name
from synthclip_hpc.training.checkpoints.staging import Staging
from synthclip_hpc.training.checkpoints.writing import Progress, publish, write_checkpoint

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True)
class Outcome:
    """How one save ended."""

    step: int
    seconds: float
    """From the call of `save` until the checkpoint stood."""
    copy_s: float
    """Of these, how long training waited for the copy."""
    size_bytes: int
    error: str | None = None
    """Why there is no checkpoint of this step."""
    kept_existing: bool = False
    """Another attempt had published the same step."""
    removed: tuple[int, ...] = ()
    """Steps of older checkpoints that were removed."""


def tell_on_stderr(text: str) -> None:
    """Print one line, at once."""
    print(text, file=sys.stderr, flush=True)


class Saver:
    """Saves the checkpoints of one attempt; on rank 0 alone, and from one thread.

    `save` takes what the copy takes. One save is in the background at a time. A full disk or another OSError is told
    loudly and counted in `failures`; training goes on and the checkpoints before it stand.
    """

    def __init__(
        self,
        folder: Path,
        *,
        plan_hash: str,
        inputs_hash: str,
        attempt: str,
        keep: int,
        world_size: int,
        warn_after_s: float | None,
        tell: Callable[[str], None] = tell_on_stderr,
    ) -> None:
        """`keep`: newest checkpoints to keep, 2 at least. `warn_after_s`: the time between the signal and the kill."""
        assert keep >= 2, "the newest may be the one that breaks"
        assert "/" not in attempt
        self.folder = folder
        self.failures: list[str] = []
        """Why saves failed, one text each."""
        self.last_seconds: float | None = None
        """How long the last successful save took, from the call until the checkpoint stood."""
        self.last_step: int | None = None
        """The step of the last successful save."""
        self._plan_hash, self._inputs_hash = plan_hash, inputs_hash
        self._attempt, self._world_size = attempt, world_size
        self._warn_after_s = warn_after_s
        self._tell = tell
        self._keeper = Keeper(folder, plan_hash=plan_hash, inputs_hash=inputs_hash, keep=keep, tell=tell)
        self._staging = Staging()
        self._thread: threading.Thread | None = None
        self._bug: Exception | None = None
        self._last_error: OSError | None = None
        self._outcomes: list[Outcome] = []

    def save(self, state: Mapping[str, Any], *, step: int, epoch: float, samples: int, marked: bool = False) -> None:
        """Copy `state` now and publish it in the background, after an earlier save is done.

        `state`: tensors on any device, plain values, and mappings, lists and tuples of them (TypeError for others). A
        step that this saver has saved already is not saved again. Call `wait` before the process ends.
        """
        self.wait()
        if step == self.last_step and not marked:
            return
        started = time.monotonic()
        copy = self._staging.copy(state)
        copy_s = time.monotonic() - started
        progress = Progress(
            step=step,
            epoch=epoch,
            samples=samples,
            marked=marked,
            world_size=self._world_size,
            plan_hash=self._plan_hash,
            inputs_hash=self._inputs_hash,
            attempt=self._attempt,
        )
        # Not a daemon: a loop that ends with an error must not tear the save that is under way.
        self._thread = threading.Thread(
            target=self._save, args=(copy, progress, started, copy_s), name="checkpoint", daemon=False
        )
        self._thread.start()

    def wait(self, *, raise_errors: bool = False) -> None:
        """Wait until nothing is being saved.

        With `raise_errors` a last save that failed raises its OSError: what follows needs that checkpoint. An error
        that is not the file system's is always raised, once.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._bug is not None:
            bug, self._bug = self._bug, None
            raise bug
        if raise_errors and self._last_error is not None:
            raise self._last_error

    def outcomes(self) -> list[Outcome]:
        """Return how the saves ended that are done, each once: for the journal."""
        done, self._outcomes = self._outcomes, []
        return done

    def _save(self, state: dict[str, Any], progress: Progress, started: float, copy_s: float) -> None:
        outcome = Outcome(progress.step, 0.0, round(copy_s, 3), 0)
        try:
            manifest, published = self._write(state, progress, started)
            self.last_seconds = time.monotonic() - started
            self.last_step, self._last_error = progress.step, None
            self._warn_when_slow(self.last_seconds)
            removed = tuple(self._sweep(self.folder / published_name(progress.step) if published else None))
            outcome = replace(
                outcome,
                seconds=round(self.last_seconds, 3),
                size_bytes=manifest.size_bytes,
                kept_existing=not published,
                removed=removed,
            )
        except OSError as error:
            self._last_error = error
            text = f"checkpoint of step {progress.step:,}: {error.strerror or error} ({self.folder})"
            self.failures.append(text)
            self._tell(
                f"NOT SAVED, {len(self.failures)} so far: {text}; training goes on, older ones stand as they are"
            )
            outcome = replace(outcome, seconds=round(time.monotonic() - started, 3), error=text)
        except Exception as error:
            # Raised in the thread that trains, by the next `save` or `wait`.
            self._bug = error
            return
        self._outcomes.append(outcome)

    def _write(self, state: dict[str, Any], progress: Progress, started: float) -> tuple[Manifest, bool]:
        try:
            temporary, manifest = write_checkpoint(self.folder, state, progress, started)
        except OSError as error:
            if error.errno not in _NO_ROOM or not self._keeper.make_room(progress.step):
                raise
            temporary, manifest = write_checkpoint(self.folder, state, progress, started)
        return manifest, publish(self.folder, temporary, manifest, self._tell)

    def _sweep(self, own: Path | None) -> list[int]:
        try:
            if own is not None:
                self._keeper.trust(own)
            return self._keeper.sweep()
        except OSError as error:
            # The checkpoint stands; that older ones could not be looked at costs room alone.
            self._tell(f"old checkpoints in {self.folder} were not removed: {error.strerror or error}")
            return []

    def _warn_when_slow(self, seconds: float) -> None:
        if self._warn_after_s is None or seconds <= self._warn_after_s:
            return
        self._tell(
            f"a checkpoint took {seconds:.0f} s, longer than the {self._warn_after_s:.0f} s between the signal and the "
            "kill: a job that is stopped may go back to the checkpoint before; give it more with slurm.signal_lead_s"
        )
        self._warn_after_s = None
