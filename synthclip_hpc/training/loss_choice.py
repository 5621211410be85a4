"""What `train.loss` and `train.loss_tile` ask for. Without torch, so that it can be said before a job is submitted."""

from __future__ import annotations

from synthclip_hpc.config.train import LOSSES
from synthclip_hpc.errors import UserError, nearest


def chosen_tile(loss: str, loss_tile: int) -> int | None:
    """Return the rows of the matrix to compute at a time; None = all of a rank's rows, by plain autograd.

    Raises UserError for a loss that does not exist and for less than one row.
    """
    if loss not in LOSSES:
        raise UserError(f"train.loss={loss}: no such loss{nearest(loss, LOSSES)}; valid: {', '.join(LOSSES)}")
    if loss == "full":
        return None
    if loss_tile < 1:
        raise UserError(
            f"train.loss_tile={loss_tile}: wanted a whole number from 1, the rows that are computed at a time; "
            f"take train.loss=full for all of them"
        )
    return loss_tile
