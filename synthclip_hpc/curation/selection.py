"""Which captions a balanced set keeps: those up to a cut in one fixed order, so that a larger set only adds to it.

Captions are ordered by tau, then by caption_id. tau is the entry threshold of balancing (`curation.thresholds`) or, for
the ablation of the paper's Table 3a, the caption's uniform number. A cut is found by rank (exactly N captions) or
follows from MetaCLIP's fixed threshold t; neither depends on the files, their number or their order.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from synthclip_hpc.curation.thresholds import entry_thresholds
from synthclip_hpc.errors import UserError

Mode = Literal["balanced", "random", "none"]
Chunks = Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]
"""Called once a pass; yields (tau float64, caption_id uint64) arrays, the same rows each time, in any order."""

_DIGIT_BITS = 16
_DIGITS = 2 * 64 // _DIGIT_BITS
"""Four of tau's bits, then four of caption_id's: captions are ordered as these digits are."""
_COLLECTED = 1 << 22
"""As many candidates (16 bytes each) are looked at one by one; with more left, another digit is counted first."""


class TooFewCaptions(UserError):
    """More captions are wanted than can be had: `target` and `usable`, the largest possible number, are attributes."""

    def __init__(self, target: int, usable: int) -> None:
        super().__init__(
            f"balance.target={target}: only {usable:,} captions are usable, that is distinct and with a match; "
            + (f"use balance.target={usable} at most, " if usable else "check the captions and the concept bank, ")
            + "or take what there is with balance.allow_short=true"
        )
        self.target = target
        self.usable = usable


@dataclass(frozen=True)
class Cut:
    """The last caption that is kept: those before it, by tau and then by caption_id, are kept too."""

    tau: float
    caption_id: int

    @classmethod
    def up_to(cls, t: float) -> Cut:
        """Keep every caption whose tau is t or less: MetaCLIP's fixed threshold, tau being the entry threshold."""
        return cls(min(t, sys.float_info.max), 2**64 - 1)


EVERYTHING = Cut.up_to(sys.float_info.max)
"""Keeps all usable captions, those whose tau is finite."""


def caption_taus(
    mode: Mode,
    offsets: np.ndarray,
    entries: np.ndarray,
    counts: np.ndarray,
    uniform: np.ndarray,
    *,
    keep_unmatched: bool = False,
) -> np.ndarray:
    """Return where each caption enters, float64 (captions,); arguments and errors are those of `entry_thresholds`.

    `balanced`: the entry threshold; `random`: the uniform number; `none`: 0. Captions without entries are not usable
    (infinity) unless `keep_unmatched`: then they come before all others (0; in mode `random` they have no privilege).
    """
    if mode == "balanced":
        taus = entry_thresholds(offsets, entries, counts, uniform)
    else:
        taus = uniform.astype(np.float64) if mode == "random" else np.zeros(len(uniform))
    unmatched = np.diff(offsets) == 0
    if not keep_unmatched:
        taus[unmatched] = np.inf
    elif mode == "balanced":
        taus[unmatched] = 0.0
    return taus


def find_cut(chunks: Chunks, target: int) -> Cut:
    """Return the cut that keeps exactly `target` captions, of those whose tau is finite.

    Memory is bounded whatever the number of captions: rows are counted by leading digits, then the few that share the
    cut's digits are sorted. Two passes over the chunks as a rule; more only when millions of taus are nearly equal.

    Raises UserError for a target below 1, TooFewCaptions when there are fewer captions, and ValueError for taus that
    are negative or no numbers, for chunks that differ between passes, and when the cut falls on one caption_id twice.
    """
    if target < 1:
        raise UserError(f"balance.target={target}: a set has one caption or more; give the number that it shall have")
    digits: list[int] = []
    rank = target
    expected: int | None = None  # so many rows begin with `digits`, and the cut is the rank-th of them
    while expected is None or (expected > _COLLECTED and len(digits) < _DIGITS):
        histogram = np.zeros(1 << _DIGIT_BITS, np.int64)
        for keys in _beginning_with(digits, chunks):
            histogram += np.bincount(_digit(keys, len(digits)), minlength=len(histogram))
        ends = histogram.cumsum()
        if expected is None and ends[-1] < target:
            raise TooFewCaptions(target, int(ends[-1]))
        _check_passes(expected, int(ends[-1]))
        digit = int(np.searchsorted(ends, rank))
        rank, expected = rank - int(ends[digit] - histogram[digit]), int(histogram[digit])
        digits.append(digit)
    if expected > _COLLECTED:
        raise ValueError(f"{expected} captions have the same tau and the same caption_id: no cut goes between them")
    bits, ids = (np.concatenate(column) for column in zip(*_beginning_with(digits, chunks), strict=True))
    _check_passes(expected, len(ids))
    order = np.lexsort((ids, bits))
    last = order[rank - 1]
    if rank < expected and bits[order[rank]] == bits[last] and ids[order[rank]] == ids[last]:
        raise ValueError(f"caption_id {ids[last]} occurs twice: no cut keeps exactly {target} captions")
    return Cut(float(bits[last].view(np.float64)), int(ids[last]))


def is_kept(cut: Cut, tau: np.ndarray, caption_id: np.ndarray) -> np.ndarray:
    """Return bool (captions,): which captions, by tau (float64) and caption_id (uint64), the cut keeps."""
    kept: np.ndarray = (tau < cut.tau) | ((tau == cut.tau) & (caption_id <= np.uint64(cut.caption_id)))
    return kept


def _beginning_with(digits: list[int], chunks: Chunks) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield tau's bits and caption_id, both uint64, of the usable rows whose first digits are these."""
    for tau, caption_id in chunks():
        if not bool(np.all(tau >= 0)):
            raise ValueError("tau must be a number from 0 on")
        usable = tau < np.inf
        # Bits of floats from 0 on are ordered as the floats are; adding 0 makes the other zero, -0.0, the usual one.
        keys = ((tau[usable] + 0.0).view(np.uint64), caption_id[usable].astype(np.uint64, copy=False))
        for place, digit in enumerate(digits):
            same = _digit(keys, place) == digit
            keys = (keys[0][same], keys[1][same])
        yield keys


def _digit(keys: tuple[np.ndarray, np.ndarray], place: int) -> np.ndarray:
    column, place = divmod(place, _DIGITS // 2)
    shift = np.uint64(64 - _DIGIT_BITS * (place + 1))
    digit: np.ndarray = ((keys[column] >> shift) & np.uint64((1 << _DIGIT_BITS) - 1)).astype(np.int64)
    return digit


def _check_passes(expected: int | None, found: int) -> None:
    if expected is not None and expected != found:
        raise ValueError(f"the taus changed while they were read: {expected} rows in one pass, {found} in the next")
