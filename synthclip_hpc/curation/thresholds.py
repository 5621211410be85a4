"""How likely balancing keeps a caption at a threshold t, and the other way round: from which t on it keeps it.

Paper 3.2, MetaCLIP's rule: each entry e that a caption contains draws with probability min(1, t / n_e), where n_e is
the number of captions that contain e; the caption stays if one draw succeeds, that is with probability
1 - prod(1 - min(1, t / n_e)). That grows with t. So one uniform number a caption settles its fate for every t at once:
it enters at the smallest t whose probability reaches that number.

Arrays throughout: caption i contains the entries `entries[offsets[i]:offsets[i + 1]]`, each once; `counts` has n_e.

Probabilities p are computed as odds, o = p / (1 - p): each entry turns o into o + (1 + o) t / (n_e - t), sums and
products of positive numbers, so they are exact to a few units in the last place for p near 0 and near 1 alike. Rounded
addition, multiplication and division are monotone, and the same on every machine; therefore the odds as computed never
fall when t grows, and "the smallest float64 t that reaches the number" has one answer, whichever way it is searched,
alone or in company.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

# These three change the time only, never a result.
_BLOCK = 1 << 17
"""Numbers in a block (1 MB): numpy's overhead a call hardly counts, and the processor's cache still helps."""
_STEPS = 5
"""Steps towards the solution before it is searched float by float."""
_NEAR = 4
"""How many floats off the solution the last step is expected to be at most."""


def uniform_numbers(raw: np.ndarray) -> np.ndarray:
    """Turn random uint64 numbers into float64 in (0, 1], multiples of 2^-53; shape (n,) to (n,)."""
    return ((raw >> np.uint64(11)).astype(np.float64) + 1.0) * 2.0**-53


def keep_probability(offsets: np.ndarray, entries: np.ndarray, counts: np.ndarray, t: float) -> np.ndarray:
    """Return float64 (captions,): 1 - prod(1 - min(1, t / n_e)); 0 for a caption without entries.

    `offsets` int64 (captions + 1,), `entries` whole numbers (matches,), `counts` whole numbers (entries of the bank,).
    Raises ValueError for a t that is not above 0, for a matched entry with count 0, and for offsets that do not fit.
    """
    if not t > 0:
        raise ValueError(f"the threshold t must be above 0, got {t!r}")
    probability = np.zeros(len(offsets) - 1)
    for rows, block in _blocks(offsets, entries, counts):
        reached = np.minimum(t, block[0])
        odds = _odds(_reciprocals(block, reached), reached)
        certain = np.isinf(odds)
        probability[rows] = np.where(certain, 1.0, odds / np.where(certain, 1.0, 1.0 + odds))
    return probability


def entry_thresholds(offsets: np.ndarray, entries: np.ndarray, counts: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Return float64 (captions,): the smallest t at which a caption's keep probability reaches its `uniform` number.

    `uniform` is float64 (captions,) in (0, 1]; the other arguments are those of `keep_probability`. A threshold is
    never above the smallest count among the caption's entries, since from there on the caption is kept for certain.
    Captions without entries never enter: infinity.

    The result is a function of a caption's number and of its entries' counts alone, bit for bit: neither the order of
    its entries nor the other captions of the call play a part. Raises ValueError as `keep_probability` does, and for
    numbers outside (0, 1].
    """
    if len(uniform) != len(offsets) - 1:
        raise ValueError(f"{len(offsets) - 1} captions need as many uniform numbers, got {len(uniform)}")
    if not bool(np.all((uniform > 0) & (uniform <= 1))):
        raise ValueError("uniform numbers must lie in (0, 1]")
    thresholds = np.full(len(uniform), np.inf)
    for rows, block in _blocks(offsets, entries, counts):
        thresholds[rows] = _solve(block, uniform[rows])
    return thresholds


def _blocks(offsets: np.ndarray, entries: np.ndarray, counts: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield captions of one length at a time: their places (m,) and their entries' counts, float64 (length, m).

    Counts are sorted, smallest first, so that what is computed from them does not depend on how the bank is ordered.
    """
    lengths = np.diff(offsets)
    if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(entries) or bool(np.any(lengths < 0)):
        raise ValueError(f"offsets must rise from 0 to the number of entries, {len(entries)}")
    by_length = np.argsort(lengths, kind="stable")
    ends = np.cumsum(np.bincount(lengths)) if len(lengths) else np.zeros(0, np.int64)
    for length in range(1, len(ends)):
        size = max(1, _BLOCK // length)
        for start in range(ends[length - 1], ends[length], size):
            rows = by_length[start : min(start + size, ends[length])]
            block = counts[entries[offsets[rows][:, None] + np.arange(length)]].astype(np.float64)
            block.sort(axis=1)
            if block[:, 0].min() < 1:
                raise ValueError(
                    "an entry that a caption contains has count 0: counts and matches do not belong together"
                )
            yield rows, np.ascontiguousarray(block.T)


def _reciprocals(block: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return 1 / (n_e - t), shape of `block` (length, m); infinity where t is n_e. No t (m,) is above its counts."""
    with np.errstate(divide="ignore"):
        return 1.0 / (block - t)


def _odds(reciprocals: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return p / (1 - p) of the keep probability p at t (m,); see the top of this file for why in this form."""
    with np.errstate(over="ignore"):
        ratios = reciprocals * t
        odds: np.ndarray = ratios[0].copy()
        for ratio in ratios[1:]:
            odds += (1.0 + odds) * ratio
    return odds


def _solve(block: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Return the smallest float64 t (m,) whose odds reach those of `uniform` (m,)."""
    with np.errstate(divide="ignore"):
        target = uniform / (1.0 - uniform)
    smallest = block[0]
    low, high = np.zeros_like(smallest), smallest.copy()  # the odds at `low` are too small, those at `high` suffice
    near = _step(low, low, 1.0 / block, target)
    for _ in range(_STEPS):
        near = np.where(near < high, np.maximum(near, low), 0.5 * (low + high))
        reciprocals = _reciprocals(block, near)
        odds = _odds(reciprocals, near)
        np.copyto(high, near, where=odds >= target)
        np.copyto(low, near, where=odds < target)
        near = _step(near, odds, reciprocals, target)
    near = np.where((near >= low) & (near <= high), near, high)

    # Positive floats are ordered as their bits are: the rest is a search among whole numbers.
    low_bits, high_bits, near_bits = low.view(np.int64), high.view(np.int64), near.view(np.int64)
    rows = np.arange(len(smallest))
    for shift in (-_NEAR, _NEAR):
        _probe(block, target, low_bits, high_bits, rows, np.clip(near_bits + shift, low_bits, high_bits))
    while len(rows := np.flatnonzero(high_bits - low_bits > 1)):
        middle = low_bits[rows] + (high_bits[rows] - low_bits[rows]) // 2
        _probe(block[:, rows], target[rows], low_bits, high_bits, rows, middle)
    # A product of very many odds overflows a hair below the smallest count; a number of 1 needs that count itself.
    return np.where(uniform < 1.0, high, smallest)


def _probe(
    block: np.ndarray,
    target: np.ndarray,
    low_bits: np.ndarray,
    high_bits: np.ndarray,
    rows: np.ndarray,
    bits: np.ndarray,
) -> None:
    """Replace `low_bits[rows]` or `high_bits[rows]` by `bits`, as the odds there are too small or suffice."""
    t = bits.view(np.float64)
    reached = _odds(_reciprocals(block, t), t) >= target
    high_bits[rows[reached]] = bits[reached]
    low_bits[rows[~reached]] = bits[~reached]


def _step(t: np.ndarray, odds: np.ndarray, reciprocals: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return a better t (m,): where c (z - t)^k, fitted to prod(1 - t / n_e) and two derivatives, meets the target.

    Exact when all counts of a caption are equal. It only leads to the neighbourhood of the solution, so the last digits
    of exp and log1p, which differ between processors, do not matter; neither does a result that is not a number.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        first = reciprocals.sum(axis=0)
        second = np.einsum("ij,ij->j", reciprocals, reciprocals)
        distance = np.log1p(target) - np.log1p(odds)
        return t - first / second * np.expm1(-distance * second / (first * first))
