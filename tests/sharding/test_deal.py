import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharding.deal import deal


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
