import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharding.deal import deal, deal_weighted


@given(shards=st.lists(st.integers(0, 10**6), unique=True), num_elements=st.integers(1, 20), contiguous=st.booleans())
def test_every_shard_goes_to_exactly_one_element_and_loads_differ_by_at_most_one(
    shards: list[int], num_elements: int, contiguous: bool
) -> None:
    dealt = [deal(shards, num_elements, element, contiguous=contiguous) for element in range(num_elements)]
    assert sorted(shard for share in dealt for shard in share) == sorted(shards)
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


def test_shards_are_dealt_in_strides_of_the_list() -> None:
    assert deal([4, 5, 9, 11, 12], 2, 0) == [4, 9, 12]
    assert deal([4, 5, 9, 11, 12], 2, 1) == [5, 11]


def test_contiguous_shards_are_dealt_in_blocks_of_the_list_in_order() -> None:
    dealt = [deal([4, 5, 9, 11, 12], 3, element, contiguous=True) for element in range(3)]
    assert dealt == [[4], [5, 9], [11, 12]]
    assert deal([4, 5], 3, 0, contiguous=True) == []


@pytest.mark.parametrize(("num_elements", "element"), [(0, 0), (2, 2), (2, -1)])
def test_elements_outside_the_deal_are_refused(num_elements: int, element: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        deal([1, 2], num_elements, element)


@given(weights=st.lists(st.floats(0, 1e6), max_size=12), num_elements=st.integers(1, 6))
def test_by_cost_every_shard_goes_to_exactly_one_element_and_the_costliest_block_is_the_cheapest_there_is(
    weights: list[float], num_elements: int
) -> None:
    shards = list(range(100, 100 + len(weights)))
    cost = dict(zip(shards, weights, strict=True))
    dealt = [deal(shards, num_elements, element, weights=weights) for element in range(num_elements)]
    assert [shard for share in dealt for shard in share] == shards
    cuts = itertools.combinations_with_replacement(range(len(shards) + 1), num_elements - 1)
    best = min(max(sum(weights[a:b]) for a, b in itertools.pairwise((0, *cut, len(shards)))) for cut in cuts)
    assert max(sum(cost[shard] for shard in share) for share in dealt) == pytest.approx(best, rel=1e-9)


def test_all_elements_are_dealt_to_at_once_as_to_each_alone() -> None:
    shards, weights = list(range(50)), [float(n * 37 % 11) for n in range(50)]
    dealt = deal_weighted(shards, 7, weights)
    assert dealt == [deal(shards, 7, element, weights=weights) for element in range(7)]


def test_a_costly_shard_stands_alone_and_cheap_ones_together() -> None:
    dealt = [deal([4, 5, 6, 9, 11, 12], 3, element, weights=[1, 1, 9, 1, 1, 1]) for element in range(3)]
    assert dealt == [[4, 5], [6], [9, 11, 12]]


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_cost_that_is_none_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="weights must be 0 or more"):
        deal([1, 2], 1, 0, weights=[1.0, weight])
