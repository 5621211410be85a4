"""JSON of one form only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharding.canonical import canonical_json, fingerprint

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("aä🦊"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(value=st.dictionaries(st.text(max_size=3), JSON, max_size=5))
def test_canonical_json_does_not_depend_on_the_order_of_keys(value: dict[str, object]) -> None:
    backwards = dict(reversed(value.items()))
    assert canonical_json(value) == canonical_json(backwards)
    assert canonical_json(value).endswith(b"\n")


def test_canonical_json_and_fingerprint_are_pinned() -> None:
    assert canonical_json({"b": [1, 2.5], "a": "ä"}) == '{\n "a": "ä",\n "b": [\n  1,\n  2.5\n ]\n}\n'.encode()
    assert fingerprint({}) == "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"


@pytest.mark.parametrize("value", [float("nan"), {"a": [float("inf")]}, {1: "a"}, {"a": [{None: 1}]}])
def test_what_strict_json_cannot_say_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        canonical_json(value)
