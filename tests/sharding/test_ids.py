import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharding.ids import derive, item_id

GOLDEN_ITEM = 3770250130082203602
GOLDEN_SEED = 7777589213792608219

parts = st.lists(st.text(max_size=6) | st.integers(), max_size=4)


def test_identities_and_seeds_stay_what_they_are_forever() -> None:
    assert item_id("red panda", 3) == GOLDEN_ITEM
    assert derive(7, GOLDEN_ITEM, "caption") == GOLDEN_SEED


def test_another_process_gives_the_same_identity() -> None:
    code = "from sharding.ids import item_id; print(item_id('red panda', 3))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(printed.stdout) == GOLDEN_ITEM


@given(left=parts, right=parts)
def test_different_parts_give_different_identities(left: list[str | int], right: list[str | int]) -> None:
    assert (item_id(*left) == item_id(*right)) == (left == right)


@pytest.mark.parametrize(
    ("left", "right"),
    [(("ab", "c"), ("a", "bc")), (("1",), (1,)), (("a", ""), ("a",)), (("s1:a",), ("a",)), ((12, 3), (1, 23))],
)
def test_parts_do_not_run_into_one_another(left: tuple[str | int, ...], right: tuple[str | int, ...]) -> None:
    assert item_id(*left) != item_id(*right)


def test_every_argument_of_derive_matters() -> None:
    seeds = {derive(0, 1, "a"), derive(1, 0, "a"), derive(0, 1, "b"), derive(0, 2, "a"), item_id(0, 1, "a")}
    assert len(seeds) == 5


def test_a_hundred_thousand_items_have_as_many_identities_of_64_bits() -> None:
    identities = {item_id("concept", n) for n in range(100_000)}
    assert len(identities) == 100_000
    assert 0 <= min(identities) < 1 << 56 and 1 << 63 < max(identities) < 1 << 64


def test_a_file_name_that_is_no_unicode_has_an_identity() -> None:
    assert item_id("caf\udce9") != item_id("caf")


@pytest.mark.parametrize("part", [True, 1.0, None, b"a"])
def test_parts_that_are_no_text_or_whole_number_are_refused(part: object) -> None:
    with pytest.raises(TypeError, match="text and whole numbers"):
        item_id(part)  # type: ignore[arg-type]
