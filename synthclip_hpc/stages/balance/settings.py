"""The keys of `balance`: which values can be, and what of them decides the result."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from synthclip_hpc.config import BALANCE_MODES, MATCH_CASES
from synthclip_hpc.errors import UserError, nearest

if TYPE_CHECKING:
    from synthclip_hpc.config import BalanceConfig, RunConfig
    from synthclip_hpc.stages.phase import Sources


def check_settings(balance: BalanceConfig) -> None:
    """Raise UserError when a value cannot be, or two do not go together."""
    for key, known in (("mode", BALANCE_MODES), ("case", MATCH_CASES)):
        value = getattr(balance, key)
        if value not in known:
            raise UserError(f"balance.{key}={value}: no such {key}{nearest(value, known)}. Valid: {', '.join(known)}")
    for key in ("shard_items", "match_items"):
        if getattr(balance, key) < 1:
            raise UserError(f"balance.{key}={getattr(balance, key)}: wanted a whole number from 1")
    if not 0 <= balance.items_per_s < math.inf:
        raise UserError(f"balance.items_per_s={balance.items_per_s}: wanted 0 (full speed) or more")
    if balance.target is not None and balance.target < 1:
        raise UserError(f"balance.target={balance.target}: wanted how many captions to keep, a whole number from 1")
    if balance.t is not None and not 0 < balance.t < math.inf:
        raise UserError(f"balance.t={balance.t}: wanted a threshold above 0, e.g. 20 (captions of a concept)")
    given = [key for key in ("target", "t") if getattr(balance, key) is not None]
    if len(given) == 2:
        raise UserError(
            f"balance.target={balance.target} and balance.t={balance.t}: give one of the two; target keeps an exact "
            "number of captions, t is MetaCLIP's threshold"
        )
    if balance.mode == "none" and given:
        raise UserError(f"balance.mode=none keeps every caption; leave balance.{given[0]} out")
    if balance.mode == "random" and balance.t is not None:
        raise UserError(
            "balance.t is a threshold on concept counts, which balance.mode=random does not use; give target"
        )
    if balance.mode != "none" and not given:
        raise UserError(
            "balance.target is missing: how many captions to keep, e.g. balance.target=3000000 (or balance.t=20, "
            "MetaCLIP's threshold; or balance.mode=none for all of them)"
        )


def follows_from_configuration(balance: BalanceConfig) -> bool:
    """Tell whether the size of the set is known before anything has run."""
    return balance.target is not None and not balance.allow_short


def source_identity(config: RunConfig, sources: Sources) -> dict[str, Any]:
    """Return what names the captions that come in: other tables by their content; the run's own by their seal."""
    if config.balance.source is None:
        return {}
    return {"balance.source.fingerprint": sources.caption_source.fingerprint}
