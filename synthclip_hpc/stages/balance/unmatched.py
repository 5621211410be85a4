"""`balance.keep_unmatched` with `balance.target`: how far captions that name no concept may fill the set.

They come in first, all of them, and the target's rest is balanced. So they must leave a rest: a set of nothing else
would be called balanced and not have one concept that was looked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from synthclip_hpc.errors import UserError

if TYPE_CHECKING:
    from synthclip_hpc.config import BalanceConfig
    from synthclip_hpc.curation.selection import Chunks, Cut


def refuse_only_unmatched(balance: BalanceConfig, cut: Cut, chunks: Chunks) -> None:
    """Raise UserError when the cut for `balance.target` leaves no caption that names a concept.

    Of the captions of `mode=balanced` only those without a match enter at 0 (`caption_taus`).
    """
    import numpy as np

    if not balance.keep_unmatched or balance.mode != "balanced" or cut.tau > 0:
        return
    unmatched = sum(int(np.count_nonzero(taus == 0)) for taus, _ in chunks())
    raise UserError(
        f"balance.keep_unmatched=true, balance.target={balance.target}: {unmatched:,} captions name no concept, all of "
        "them are kept and no room is left for others; ask for more than these, or leave keep_unmatched out"
    )
