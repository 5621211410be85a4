"""Keep probabilities and entry thresholds: against exact fractions, and the same bits in any company."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthclip_hpc.curation import thresholds as thresholds_module
from synthclip_hpc.curation.thresholds import entry_thresholds, keep_probability, uniform_numbers
from tests.synthclip_hpc.curation_data import real_captions

COUNTS = st.one_of(st.integers(1, 40), st.integers(1, 10**9))
MATCHES = st.one_of(
    st.lists(COUNTS, min_size=1, max_size=30),
    st.builds(lambda count, times: [count] * times, COUNTS, st.integers(1, 60)),
)
RAW = st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 2**12), st.integers(2**64 - 2**13, 2**64 - 1))
LARGEST_RAW = 2**64 - 1


def uniform_number(raw: int) -> float:
    return float(uniform_numbers(np.array([raw], np.uint64))[0])


def exact_probability(counts: list[int], t: float | Fraction) -> Fraction:
    missed = Fraction(1)
    for count in counts:
        missed *= 1 - min(Fraction(1), Fraction(t) / count)
    return 1 - missed


def as_arrays(captions: list[list[int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Captions given by their entries' counts; every match is an entry of its own."""
    counts = np.array([count for caption in captions for count in caption], np.int64)
    offsets = np.cumsum([0, *(len(caption) for caption in captions)])
    return offsets, np.arange(len(counts), dtype=np.uint32), counts


def thresholds_of(captions: list[list[int]], uniform: list[float]) -> np.ndarray:
    return entry_thresholds(*as_arrays(captions), np.array(uniform))


def by_plain_bisection(counts: list[int], uniform: float) -> float:
    """The definition in the module's own words, with one caption and Python's floats."""
    if uniform == 1:
        return float(min(counts))

    def reached(t: float) -> bool:
        odds = 0.0
        for count in sorted(counts):
            if t >= count or math.isinf(odds):
                return True
            odds += (1.0 + odds) * (1.0 / (count - t) * t)
        return odds >= uniform / (1.0 - uniform)

    bits = np.array([0.0, min(counts)]).view(np.int64)
    low, high = int(bits[0]), int(bits[1])
    while high - low > 1:
        middle = (low + high) // 2
        if reached(float(np.int64(middle).view(np.float64))):
            high = middle
        else:
            low = middle
    return float(np.int64(high).view(np.float64))


@given(counts=MATCHES, t=st.one_of(st.floats(1e-12, 1e10), st.integers(1, 40).map(float)))
def test_the_probability_is_the_rule_of_independent_draws(counts, t):
    (got,) = keep_probability(*as_arrays([counts]), t)
    assert got == pytest.approx(float(exact_probability(counts, t)), rel=1e-14, abs=0)


def test_probabilities_worked_out_by_hand():
    captions = [[10, 4], [10], [], [2, 1000], [3]]
    probability = keep_probability(*as_arrays(captions), 2.0)
    assert probability == pytest.approx([1 - 0.8 * 0.5, 0.2, 0, 1, 2 / 3], rel=1e-15)
    assert probability[2] == 0
    assert probability[3] == 1


@settings(max_examples=300, deadline=None)
@given(counts=MATCHES, raw=RAW)
def test_a_threshold_is_where_the_exact_probability_reaches_the_number(counts, raw):
    uniform = uniform_number(raw)
    (threshold,) = thresholds_of([counts], [uniform])
    hair = Fraction(len(counts) + 8, 2**53)
    assert exact_probability(counts, Fraction(threshold) * (1 + hair)) >= Fraction(uniform)
    assert exact_probability(counts, Fraction(threshold) * (1 - hair)) < Fraction(uniform)


@settings(max_examples=300, deadline=None)
@given(counts=MATCHES, raw=RAW)
def test_a_threshold_is_the_very_float_that_plain_bisection_finds(counts, raw):
    uniform = uniform_number(raw)
    assert thresholds_of([counts], [uniform]).tolist() == [by_plain_bisection(counts, uniform)]


@pytest.mark.parametrize("setting", [("_BLOCK", 1), ("_BLOCK", 50), ("_STEPS", 0), ("_STEPS", 40), ("_NEAR", 0)])
def test_how_the_search_goes_changes_no_bit(setting, monkeypatch):
    generator = np.random.default_rng(1)
    captions = [
        (generator.pareto(0.5, 1 + row % 40) + 1).astype(np.int64).clip(1, 10**9).tolist() for row in range(800)
    ]
    uniform = uniform_numbers(generator.integers(0, LARGEST_RAW, 800, np.uint64, endpoint=True)).tolist()
    expected = thresholds_of(captions, uniform)
    assert len(set(expected.tolist())) > 700
    monkeypatch.setattr(thresholds_module, *setting)
    assert thresholds_of(captions, uniform).tobytes() == expected.tobytes()


@settings(deadline=None)
@given(
    captions=st.lists(st.tuples(st.lists(COUNTS, max_size=12), RAW), min_size=1, max_size=25),
    cuts=st.lists(st.integers(0, 25), max_size=4),
    random=st.randoms(use_true_random=False),
)
def test_neither_company_nor_order_changes_a_bit(captions, cuts, random):
    counts = [caption for caption, _ in captions]
    uniform = [uniform_number(raw) for _, raw in captions]
    expected = thresholds_of(counts, uniform)
    order = random.sample(range(len(captions)), len(captions))
    shuffled = [random.sample(counts[row], len(counts[row])) for row in order]
    edges = [0, *sorted(min(cut, len(order)) for cut in cuts), len(order)]
    for start, end in itertools.pairwise(edges):
        rows = order[start:end]
        got = thresholds_of(shuffled[start:end], [uniform[row] for row in rows])
        assert got.tobytes() == expected[rows].tobytes()


def test_no_threshold_is_above_the_smallest_count():
    captions = [[7] * 60, [8], [7, 100], [1, 1], [10**9] * 3]
    smallest = np.array([min(counts) for counts in captions], float)
    assert thresholds_of(captions, [1.0] * 5).tolist() == smallest.tolist()
    almost = thresholds_of(captions, [1 - 2**-53] * 5)
    assert (almost <= smallest).all()
    assert almost[1] == 8 * (1 - 2**-53)


def test_a_single_entry_enters_at_its_share_of_the_count():
    assert thresholds_of([[1000], [3]], [0.25, 0.5]).tolist() == [250.0, 1.5]


def test_captions_without_entries_have_probability_0_and_never_enter():
    captions: list[list[int]] = [[], [5], []]
    assert keep_probability(*as_arrays(captions), 1e300).tolist() == [0, 1, 0]
    assert thresholds_of(captions, [0.1, 0.2, 1.0]).tolist() == [math.inf, 1.0, math.inf]
    assert len(thresholds_of([], [])) == 0


def test_uniform_numbers_lie_above_0_and_reach_1():
    raw = np.array([0, 2**11 - 1, 2**11, LARGEST_RAW], np.uint64)
    assert uniform_numbers(raw).tolist() == [2**-53, 2**-53, 2**-52, 1.0]


@pytest.mark.parametrize("t", [0.0, -1.0, math.nan])
def test_a_threshold_must_be_positive(t):
    with pytest.raises(ValueError, match="above 0"):
        keep_probability(*as_arrays([[1]]), t)


@pytest.mark.parametrize("number", [0.0, -0.5, 1.5, math.nan])
def test_numbers_outside_the_unit_interval_are_refused(number):
    with pytest.raises(ValueError, match="uniform numbers"):
        thresholds_of([[1], [2]], [0.5, number])


def test_arrays_that_do_not_belong_together_are_refused():
    offsets, entries, counts = as_arrays([[4, 5], [6]])
    uniform = np.array([0.5, 0.5])
    with pytest.raises(ValueError, match="count 0"):
        entry_thresholds(offsets, entries, np.array([4, 0, 6]), uniform)
    with pytest.raises(ValueError, match="offsets"):
        entry_thresholds(offsets[:-1], entries, counts, uniform[:1])
    with pytest.raises(ValueError, match="2 captions need as many"):
        entry_thresholds(offsets, entries, counts, uniform[:1])


@pytest.mark.parametrize(("t", "kept"), [(5, 67_255), (20, 112_565), (50, 140_467), (100, 156_739), (500, 173_755)])
def test_expected_size_of_real_captions_at_a_fixed_threshold(t, kept):
    data = real_captions()
    assert round(float(keep_probability(data.offsets, data.entries, data.counts, t).sum())) == kept


def test_entering_by_t_is_the_same_as_drawing_with_the_probability_at_t():
    data = real_captions()
    entered = entry_thresholds(data.offsets, data.entries, data.counts, data.uniform)
    for t in (0.3, 5, 20, 64.25, 500):
        probability = keep_probability(data.offsets, data.entries, data.counts, t)
        assert np.array_equal(entered <= t, data.uniform <= probability)
