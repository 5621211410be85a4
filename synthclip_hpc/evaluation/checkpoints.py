"""The checkpoints at the ends of epochs, which are models to evaluate."""

from __future__ import annotations

from collections.abc import Sequence

from sharding.canonical import fingerprint
from sharding.inputs import load_inputs
from sharding.marker import is_done
from sharding.plan import load_plan
from synthclip_hpc.errors import UserError
from synthclip_hpc.run import Run
from synthclip_hpc.training import places
from synthclip_hpc.training.checkpoints.loading import Checkpoint, list_checkpoints, open_checkpoint


def steps_by_epoch(run: Run) -> dict[int, int]:
    """Return the step of each published checkpoint that ends an epoch; one that is being written is not there yet."""
    listed = list_checkpoints(places.checkpoints(run))
    return {int(one.epoch): one.step for one in listed if one.epoch >= 1 and one.epoch == int(one.epoch)}


def check_kept(run: Run, epochs: Sequence[int], asked: str) -> None:
    """Raise UserError when the training has gone past one of these epochs without keeping its checkpoint."""
    directory = run.phase("train", "fit")
    plan = load_plan(directory)
    if plan is None:
        return
    there = steps_by_epoch(run)
    newest = max((one.epoch for one in list_checkpoints(places.checkpoints(run))), default=0.0)
    ended = is_done(directory, plan, 0)
    missing = [epoch for epoch in epochs if epoch not in there and (ended or epoch < newest)]
    if missing:
        have = ", ".join(map(str, sorted(there))) or "none"
        raise UserError(
            f"eval.checkpoints={asked}: of {len(missing)} of these epochs the training has kept no checkpoint (the "
            f"first is epoch {missing[0]}); there are those of epochs {have}. Take eval.checkpoints=last, or every:N "
            "that meets them; a new run whose training is submitted with this eval.checkpoints keeps them all"
        )


def checkpoint_of(run: Run, epoch: int) -> Checkpoint:
    """Return the checkpoint at the end of an epoch, its files compared with their checksums.

    Raises UserError when there is none, or when it is damaged or another training's.
    """
    directory = run.phase("train", "fit")
    plan, inputs = load_plan(directory), load_inputs(directory)
    step = steps_by_epoch(run).get(epoch)
    if step is None or plan is None or inputs is None:
        raise UserError(
            f"epoch {epoch}: there is no checkpoint of its end in {places.checkpoints(run)}; restore it from a copy, "
            "or evaluate the last one alone in a new run (eval.checkpoints=last)"
        )
    return open_checkpoint(places.checkpoints(run), step, plan_hash=plan.hash, inputs_hash=fingerprint(inputs))
