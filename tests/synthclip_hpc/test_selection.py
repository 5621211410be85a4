"""Cuts: exactly N captions, nested sets, and what balancing keeps agrees with its probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthclip_hpc.curation import selection as selection_module
from synthclip_hpc.curation.selection import (
    EVERYTHING,
    Chunks,
    Cut,
    TooFewCaptions,
    caption_taus,
    find_cut,
    is_kept,
)
from synthclip_hpc.curation.thresholds import entry_thresholds, keep_probability
from synthclip_hpc.errors import UserError
from tests.synthclip_hpc.curation_data import MatchedCaptions, real_captions

TAUS = st.one_of(st.sampled_from([0.0, -0.0, 1.0, 1.5, math.inf]), st.floats(0, 1e9))
IDS = st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1))


def chunked(tau: np.ndarray, ids: np.ndarray, size: int = 7) -> Chunks:
    def chunks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, max(1, len(tau)), size):
            yield tau[start : start + size], ids[start : start + size]

    return chunks


def arrays(rows: list[tuple[float, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([tau for tau, _ in rows], float), np.array([caption_id for _, caption_id in rows], np.uint64)


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(TAUS, IDS), min_size=1, max_size=60, unique_by=lambda row: (row[0] + 0.0, row[1])),
    collected=st.sampled_from([1, 5, 1 << 22]),
    size=st.integers(1, 70),
    data=st.data(),
)
def test_a_cut_is_the_row_of_that_rank_whatever_the_chunks(rows, collected, size, data):
    usable = sorted((tau + 0.0, caption_id) for tau, caption_id in rows if tau < math.inf)
    target = data.draw(st.integers(1, max(1, len(usable))))
    tau, ids = arrays(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection_module, "_COLLECTED", collected)
        if not usable:
            with pytest.raises(TooFewCaptions):
                find_cut(chunked(tau, ids, size), target)
            return
        cut = find_cut(chunked(tau, ids, size), target)
    assert (cut.tau, cut.caption_id) == usable[target - 1]
    kept = is_kept(cut, tau, ids)
    assert (
        sorted((tau + 0.0, caption_id) for (tau, caption_id), keep in zip(rows, kept, strict=True) if keep)
        == (usable[:target])
    )


def test_two_passes_suffice_when_few_captions_share_a_digit():
    generator = np.random.default_rng(3)
    tau, ids = generator.exponential(20, 5000), generator.integers(0, 2**63, 5000).astype(np.uint64)
    passes = []

    def chunks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        passes.append(1)
        yield tau, ids

    assert is_kept(find_cut(chunks, 1234), tau, ids).sum() == 1234
    assert len(passes) == 2


def test_equal_taus_are_told_apart_by_caption_id_without_collecting_them(monkeypatch):
    monkeypatch.setattr(selection_module, "_COLLECTED", 100)
    ids = np.random.default_rng(4).permutation(20_000).astype(np.uint64) * np.uint64(3)
    tau = np.full(20_000, 2.5)
    assert find_cut(chunked(tau, ids, 3000), 7001) == Cut(2.5, 21_000)


def test_too_few_captions_say_how_many_there_are():
    tau, ids = arrays([(1.0, 1), (math.inf, 2), (2.0, 3)])
    assert find_cut(chunked(tau, ids), 2) == Cut(2.0, 3)
    with pytest.raises(
        TooFewCaptions, match=r"balance\.target=3: only 2 captions are usable.*balance\.target=2"
    ) as told:
        find_cut(chunked(tau, ids), 3)
    assert (told.value.target, told.value.usable) == (3, 2)
    with pytest.raises(TooFewCaptions, match="check the captions and the concept bank") as told:
        find_cut(chunked(tau[:0], ids[:0]), 1)
    assert told.value.usable == 0


@pytest.mark.parametrize("target", [0, -5])
def test_a_set_of_no_captions_is_refused(target):
    with pytest.raises(UserError, match=rf"balance\.target={target}"):
        find_cut(chunked(*arrays([(1.0, 1)])), target)


@pytest.mark.parametrize("tau", [-1.0, math.nan, -math.inf])
def test_a_tau_that_orders_nothing_is_refused(tau):
    with pytest.raises(ValueError, match="number from 0 on"):
        find_cut(chunked(*arrays([(1.0, 1), (tau, 2)])), 1)


@pytest.mark.parametrize("collected", [1, 1 << 22])
def test_one_caption_twice_at_the_cut_is_refused_and_elsewhere_is_none_of_its_business(collected, monkeypatch):
    monkeypatch.setattr(selection_module, "_COLLECTED", collected)
    tau, ids = arrays([(1.0, 1), (2.0, 7), (2.0, 7), (3.0, 9)])
    with pytest.raises(ValueError, match=r"same caption_id|occurs twice"):
        find_cut(chunked(tau, ids), 2)
    assert find_cut(chunked(tau, ids), 1) == Cut(1.0, 1)
    assert find_cut(chunked(tau, ids), 4) == Cut(3.0, 9)


def test_chunks_that_change_between_passes_are_refused():
    tau, ids = arrays([(1.0, 1), (1.0, 2)])
    sizes = iter([2, 1])

    def chunks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        size = next(sizes)
        yield tau[:size], ids[:size]

    with pytest.raises(ValueError, match="changed while they were read: 2 rows in one pass, 1 in the next"):
        find_cut(chunks, 1)


def test_a_fixed_threshold_keeps_what_has_entered_by_then():
    tau, ids = arrays([(0.5, 2**64 - 1), (20.0, 2**64 - 1), (math.nextafter(20, 30), 0), (math.inf, 0)])
    assert is_kept(Cut.up_to(20.0), tau, ids).tolist() == [True, True, False, False]
    assert is_kept(Cut.up_to(math.inf), tau, ids).tolist() == [True, True, True, False]
    assert is_kept(EVERYTHING, tau, ids).tolist() == [True, True, True, False]


def test_modes_differ_in_where_captions_enter():
    matches = (np.array([0, 2, 2, 3]), np.array([0, 1, 1], np.uint32), np.array([10, 4]))
    uniform = np.array([0.6, 0.5, 0.25])
    assert caption_taus("balanced", *matches, uniform) == pytest.approx([2.0, math.inf, 1.0], rel=1e-15)
    assert caption_taus("random", *matches, uniform).tolist() == [0.6, math.inf, 0.25]
    assert caption_taus("none", *matches, uniform).tolist() == [0, math.inf, 0]
    assert caption_taus("balanced", *matches, uniform, keep_unmatched=True)[1] == 0
    assert caption_taus("random", *matches, uniform, keep_unmatched=True).tolist() == [0.6, 0.5, 0.25]
    assert caption_taus("none", *matches, uniform, keep_unmatched=True).tolist() == [0, 0, 0]
    assert uniform.tolist() == [0.6, 0.5, 0.25]


def deviation_bound(variance: np.ndarray, trials: int) -> np.ndarray:
    """Bernstein's: a sum of independent 0/1 draws leaves it once in a thousand times, all `trials` sums together."""
    log = math.log(2 * trials / 0.001)
    return log / 3 + np.sqrt(log**2 / 9 + 2 * log * variance)


def per_entry(data: MatchedCaptions, of_captions: np.ndarray) -> np.ndarray:
    """Sum a number of each caption over the captions of each entry: float64 (entries of the bank,)."""
    weights = np.repeat(of_captions.astype(float), np.diff(data.offsets))
    return np.bincount(data.entries, weights, minlength=len(data.counts))


@pytest.mark.parametrize("t", [5, 20, 50, 100, 500])
def test_kept_counts_of_every_entry_agree_with_their_expectation(t):
    data = real_captions()
    kept = is_kept(Cut.up_to(t), entry_thresholds(data.offsets, data.entries, data.counts, data.uniform), data.ids)
    probability = keep_probability(data.offsets, data.entries, data.counts, t)
    variance = probability * (1 - probability)
    seen = data.counts > 0
    deviation = np.abs(per_entry(data, kept) - per_entry(data, probability))[seen]
    assert (deviation <= deviation_bound(per_entry(data, variance)[seen], int(seen.sum()))).all()
    total = abs(float(kept.sum() - probability.sum()))
    assert total <= deviation_bound(np.array([variance.sum()]), 1)[0]
    assert total > 0


@pytest.mark.parametrize("t", [5, 20, 50, 100, 500])
def test_entries_seen_t_times_at_most_keep_every_caption(t):
    data = real_captions()
    kept = entry_thresholds(data.offsets, data.entries, data.counts, data.uniform) <= t
    rare = (data.counts > 0) & (data.counts <= t)
    assert rare.sum() > 20_000
    assert np.array_equal(per_entry(data, kept)[rare], data.counts[rare])
    assert (per_entry(data, kept)[data.counts > t] < data.counts[data.counts > t]).any()


def test_targets_are_met_exactly_and_growing_them_only_adds_captions():
    data = real_captions()
    tau = caption_taus("balanced", data.offsets, data.entries, data.counts, data.uniform)
    usable = len(tau) - 20
    assert np.isfinite(tau).sum() == usable
    before = np.zeros(len(tau), bool)
    for target in (1, 1000, usable // 2, usable):
        kept = is_kept(find_cut(chunked(tau, data.ids, 50_000), target), tau, data.ids)
        assert kept.sum() == target
        assert not (before & ~kept).any()
        before = kept
    with pytest.raises(TooFewCaptions) as told:
        find_cut(chunked(tau, data.ids, 50_000), usable + 1)
    assert told.value.usable == usable
