"""Coverage: every figure of a small set worked out by hand, the real captions' known totals, and the picture."""

from __future__ import annotations

import json
import math
import re
import struct
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthclip_hpc.curation.coverage import (
    CountBin,
    Coverage,
    CoverageTally,
    count_histogram,
    coverage_table,
    entropy_bits,
    measure_coverage,
)
from synthclip_hpc.curation.coverage_plots import count_histogram_png
from synthclip_hpc.errors import UserError
from tests.synthclip_hpc.curation_data import match_by_windows, real_captions

BANK = ["red", "fox", "red fox", "crystal ball", "rose", "never", "snow"]
CAPTIONS = ["a red fox in snow", "a fox , a rose", "nothing here", "a red fox in snow", "crystal ball", ""]
TABLE = """\
                                         before        after
captions                                      6            2
distinct captions                             5            2
captions without a match                      2            0
words a caption                             3.2          5.0
matches                                      11            6
concepts in the bank                          7            7
seen 1+ times                                 6            5
seen 25+ times                                0            0
seen 50+ times                                0            0
mean count of those seen 25+ times            0            0
entropy over concepts (bits)               2.48         2.25
effective number of concepts                  6            5
long tail: amber                    not in bank  not in bank
long tail: chicks                   not in bank  not in bank
long tail: crystal                  not in bank  not in bank
long tail: crystal ball                       1            0
long tail: loincloth                not in bank  not in bank
long tail: rose                               1            1
long tail: sandcastles              not in bank  not in bank
long tail: sundress                 not in bank  not in bank
long tail: veggies                  not in bank  not in bank
long tail: x-ray                    not in bank  not in bank
"""


def tally(captions: list[str], sizes: list[int] | None = None, all_distinct: bool = False) -> Coverage:
    total = CoverageTally(len(BANK), all_distinct=all_distinct)
    start = 0
    for size in sizes or [len(captions)]:
        part = captions[start : start + size]
        total.add(part, *match_by_windows(part, BANK))
        start += size
    return total.coverage(BANK)


def of_counts(counts: list[int]) -> Coverage:
    return measure_coverage([f"c{place}" for place in range(len(counts))], np.array(counts), 100, 0, 100, {5: 100})


def test_figures_of_a_small_set_worked_out_by_hand():
    coverage = tally(CAPTIONS)
    shares = [2 / 11, 3 / 11, 2 / 11, 1 / 11, 1 / 11, 2 / 11]
    assert (coverage.captions, coverage.unmatched, coverage.distinct) == (6, 2, 5)
    assert (coverage.concepts, coverage.matches) == (7, 11)
    assert coverage.seen == {1: 6, 25: 0, 50: 0}
    assert coverage.mean_count == 0
    assert coverage.entropy_bits == pytest.approx(-sum(share * math.log2(share) for share in shares), rel=1e-15)
    assert coverage.effective_concepts == pytest.approx(2**coverage.entropy_bits)
    assert coverage.count_histogram == (CountBin(0, 0, 1), CountBin(1, 1, 2), CountBin(2, 3, 4))
    assert coverage.most_frequent == (
        ("fox", 3),
        ("red", 2),
        ("red fox", 2),
        ("snow", 2),
        ("crystal ball", 1),
        ("rose", 1),
    )
    assert coverage.least_frequent == (
        ("crystal ball", 1),
        ("rose", 1),
        ("red", 2),
        ("red fox", 2),
        ("snow", 2),
        ("fox", 3),
    )
    assert {concept: count for concept, count in coverage.long_tail.items() if count is not None} == {
        "crystal ball": 1,
        "rose": 1,
    }
    assert len(coverage.long_tail) == 10
    assert coverage.words_histogram == {0: 1, 2: 2, 5: 3}
    assert coverage.mean_words == pytest.approx(19 / 6)


def test_seen_times_and_the_mean_are_those_of_the_paper():
    coverage = of_counts([0, 1, 24, 25, 26, 49, 50, 1000])
    assert coverage.seen == {1: 7, 25: 5, 50: 2}
    assert coverage.mean_count == (25 + 26 + 49 + 50 + 1000) / 5


@pytest.mark.parametrize(
    ("counts", "bits"), [([7] * 8, 3.0), ([0, 5, 0], 0.0), ([2, 1, 1], 1.5), ([0, 0], 0.0), ([], 0.0)]
)
def test_entropy_counts_evenly_used_concepts(counts, bits):
    assert entropy_bits(np.array(counts, np.int64)) == pytest.approx(bits, rel=1e-15)
    assert of_counts(counts).effective_concepts == pytest.approx(2**bits if sum(counts) else 0.0)


def test_bins_of_counts_begin_at_powers_of_two():
    bins = count_histogram(np.array([0, 1, 1, 2, 3, 4, 7, 8, 2**40 - 1, 2**40]))
    assert [(one.first, one.last, one.concepts) for one in bins[:5]] == [
        (0, 0, 1),
        (1, 1, 2),
        (2, 3, 2),
        (4, 7, 2),
        (8, 15, 1),
    ]
    assert [(one.first, one.last, one.concepts) for one in bins[-2:]] == [
        (2**39, 2**40 - 1, 1),
        (2**40, 2**41 - 1, 1),
    ]


@given(sizes=st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_a_tally_in_parts_is_the_tally_of_the_whole(sizes):
    sizes = [*sizes, len(CAPTIONS)]
    assert tally(CAPTIONS, sizes) == tally(CAPTIONS)
    reversed_order = tally(CAPTIONS[::-1], sizes)
    assert reversed_order == tally(CAPTIONS)


def test_many_captions_keep_their_number_of_distinct_ones_when_hashes_are_merged(monkeypatch):
    monkeypatch.setattr("synthclip_hpc.curation.coverage._PENDING", 3)
    captions = [f"a fox {number % 17}" for number in range(60)]
    assert tally(captions, [5] * 12).distinct == 17
    assert tally(captions, [5] * 12, all_distinct=True).distinct == 60


def test_no_captions_and_an_empty_bank_have_figures_too():
    empty = CoverageTally(0).coverage([])
    assert (empty.captions, empty.distinct, empty.matches, empty.mean_words, empty.effective_concepts) == (
        0,
        0,
        0,
        0,
        0,
    )
    assert empty.count_histogram == (CountBin(0, 0, 0),)
    assert empty.most_frequent == empty.least_frequent == ()


def test_arrays_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="2 concepts need as many counts, got 1"):
        measure_coverage(["a", "b"], np.array([1]), 1, 0, 1, {1: 1})
    with pytest.raises(ValueError, match="0 or more"):
        of_counts([3, -1])
    with pytest.raises(ValueError, match="1 captions need 2 offsets, got 1"):
        CoverageTally(1).add(["a"], np.array([0]), np.array([], np.uint32))


def test_the_json_is_strict_and_has_every_figure():
    value = tally(CAPTIONS).to_json()
    assert json.loads(json.dumps(value, allow_nan=False)) == {
        **value,
        "count_histogram": list(value["count_histogram"]),
    }
    assert set(value) == {"schema", *Coverage.__dataclass_fields__}
    assert value["schema"] == 1
    assert value["seen"][0] == {"times": 1, "concepts": 6}
    assert value["most_frequent"][0] == {"concept": "fox", "count": 3}
    assert value["count_histogram"][2] == {"first": 2, "last": 3, "concepts": 4}
    assert value["words_histogram"] == [
        {"words": 0, "captions": 1},
        {"words": 2, "captions": 2},
        {"words": 5, "captions": 3},
    ]


def test_the_table_puts_sets_side_by_side():
    assert coverage_table({"before": tally(CAPTIONS), "after": tally(CAPTIONS[:2])}) == TABLE


def test_real_captions_have_their_known_coverage():
    data = real_captions()
    total = CoverageTally(len(data.bank))
    for start in range(0, len(data.texts), 40_000):
        rows = slice(start, start + 40_000)
        total.add(data.texts[rows], data.offsets[start : start + 40_001], data.entries)
    coverage = total.coverage(data.bank)
    assert (coverage.captions, coverage.distinct, coverage.unmatched) == (176_015, len(set(data.texts)), 20)
    assert (coverage.matches, coverage.seen[1]) == (2_295_202, 36_579)
    assert coverage.count_histogram[1].concepts == 12_718
    assert coverage.most_frequent[:8] == (
        ("a", 123_666),
        ("A", 96_138),
        ("in", 71_010),
        ("the", 54_889),
        ("on", 47_300),
        ("and", 40_604),
        ("of", 39_126),
        ("is", 38_770),
    )
    balls = re.compile(r"(?<=[ ,.;:?!`])crystal ball(?=[ ,.;:?!`])")
    assert coverage.long_tail["crystal ball"] == sum(bool(balls.search(f" {text} ")) for text in data.texts) == 3


@pytest.fixture
def plotting():
    pytest.importorskip("matplotlib")


@pytest.mark.usefixtures("plotting")
def test_the_picture_is_a_png_of_its_size_and_equal_for_equal_sets():
    sets = {"before": tally(CAPTIONS), "after": tally(CAPTIONS[:2])}
    picture = count_histogram_png(sets, 2.0)
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", picture[16:24]) == (1600, 1000)
    assert count_histogram_png(sets, 2.0) == picture
    assert len({picture, count_histogram_png(sets), count_histogram_png({"before": tally(CAPTIONS)}, 2.0)}) == 3


@pytest.mark.usefixtures("plotting")
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("threshold", [None, 1e-3, 1.0, 1e9])
def test_a_set_in_which_nothing_is_seen_has_a_picture(threshold):
    assert count_histogram_png({"empty": of_counts([0, 0])}, threshold)[1:4] == b"PNG"


def test_without_matplotlib_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(UserError, match=r"synthclip-hpc\[report\]"):
        count_histogram_png({"before": tally(CAPTIONS)})


@pytest.mark.parametrize("number", [0, 5])
def test_a_picture_holds_one_to_four_sets(number):
    with pytest.raises(ValueError, match=f"1 to 4 sets, got {number}"):
        count_histogram_png({str(place): tally(CAPTIONS) for place in range(number)})
