from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthclip_hpc.captioning.banks.bank import read_bank
from synthclip_hpc.captioning.banks.subsets import (
    CaptionSubset,
    RandomSubset,
    parse_subset,
    subset_by_captions,
    subset_random,
)
from synthclip_hpc.errors import UserError

BANK = tuple(f"concept {n}" for n in range(200))
banks = st.lists(st.text(max_size=5), min_size=1, max_size=30, unique=True)


@pytest.mark.parametrize(
    ("value", "subset"),
    [
        ("captions=cc3m.tsv.zst", CaptionSubset("cc3m.tsv.zst")),
        ("captions=/a b/c=d:e/", CaptionSubset("/a b/c=d:e/")),
        ("random=40000", RandomSubset(40_000)),
        ("random=007", RandomSubset(7)),
    ],
)
def test_a_subset_is_parsed(value: str, subset: CaptionSubset | RandomSubset) -> None:
    assert parse_subset("concepts.subset", value) == subset


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("wordnet", "no such subset. Valid: captions=FILE"),
        ("", "no such subset"),
        ("=", "no such subset. Valid"),
        ("caption=a.tsv", "did you mean 'captions'"),
        ("Random=3", "did you mean 'random'"),
        ("captions", "the path of a caption file is missing after captions="),
        ("captions=", "the path of a caption file is missing"),
        ("random=", "how many concepts is missing"),
        ("random=0", "a whole number from 1, got '0'"),
        ("random=-3", "got '-3'"),
        ("random=1e3", "got '1e3'"),
        ("random=²", "got '²'"),
        ("random= 3", "got ' 3'"),
    ],
)
def test_a_value_that_is_no_subset_is_refused_by_name(value: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_subset("concepts.subset", value)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"concepts.subset={value}: ")


def test_matched_places_give_their_concepts_once_in_the_order_of_the_bank() -> None:
    assert subset_by_captions(BANK, [7, 3, 3, 199, 0]) == ("concept 0", "concept 3", "concept 7", "concept 199")
    entries = np.array([2, 2, 1], dtype=np.uint32)
    assert subset_by_captions(BANK, entries) == ("concept 1", "concept 2")
    assert subset_by_captions(BANK, range(200)) == BANK


def test_captions_that_name_no_concept_are_a_users_mistake_and_unknown_places_are_ours() -> None:
    with pytest.raises(UserError, match="hold none of the 200 concepts"):
        subset_by_captions(BANK, [])
    for place in (200, -1):
        with pytest.raises(ValueError, match="places must be 0 to 199") as caught:
            subset_by_captions(BANK, [5, place])
        assert not isinstance(caught.value, UserError)


@given(bank=banks, seed=st.integers(0, 2**64 - 1), data=st.data())
def test_a_random_subset_is_k_concepts_in_order_and_grows_by_one(
    bank: list[str], seed: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(bank)))
    found = subset_random(bank, k, seed)
    assert len(set(found)) == len(found) == k
    assert list(found) == [concept for concept in bank if concept in found]
    assert set(subset_random(bank, max(1, k - 1), seed)) <= set(found)


@given(bank=banks, seed=st.integers(0, 99))
def test_a_random_subset_is_stable_when_the_bank_is_edited(bank: list[str], seed: int) -> None:
    k = (len(bank) + 1) // 2
    before = set(subset_random(bank, k, seed))
    grown = set(subset_random(["a new one", *reversed(bank)], k, seed))
    assert len(before - grown) <= 1
    assert grown - before <= {"a new one"}


def test_a_random_subset_follows_the_seed_and_is_not_the_sample_of_the_bank() -> None:
    one, again, other = (subset_random(BANK, 50, seed) for seed in (1, 1, 2))
    assert one == again != other
    emoji = read_bank("emoji").concepts
    assert subset_random(emoji, 50, 1) != read_bank("emoji", sample=50, seed=1).concepts


def test_every_concept_is_drawn_about_equally_often() -> None:
    drawn = np.zeros(len(BANK))
    for seed in range(400):
        drawn[[int(concept.split()[1]) for concept in subset_random(BANK, 50, seed)]] += 1
    # 400 draws with probability 1/4: mean 100, standard deviation 8.7; 5 of them cover 200 concepts at fixed seeds.
    assert drawn.sum() == 400 * 50
    assert drawn.min() > 56
    assert drawn.max() < 144


@pytest.mark.parametrize("k", [0, -1, 201])
def test_a_size_that_the_bank_cannot_give_is_refused(k: int) -> None:
    with pytest.raises(UserError, match=f"random={k}: the bank has 200 concepts"):
        subset_random(BANK, k, 0)


def test_a_run_takes_the_part_of_the_bank_that_captions_name(tmp_path: Path) -> None:
    bank, captions = tmp_path / "bank.txt", tmp_path / "captions.tsv"
    bank.write_text("zebra\nred fox\nfox\ncat\ndog\n")
    captions.write_text("caption\na red fox, and a dog.\nnothing\n")
    found = read_bank(str(bank), subset=f"captions={captions}")
    assert found.concepts == ("red fox", "fox", "dog")
    assert found.rejects == {"not_selected": 2}
    assert len(read_bank(str(bank), subset="random=2", seed=3).concepts) == 2
    assert read_bank(str(bank), subset=f"captions={captions}", limit=1).concepts == ("red fox",)
