"""What a user is told of two plans that differ."""

from __future__ import annotations

from sharding.drift import differences, explain


def test_entries_of_lists_are_compared_one_by_one() -> None:
    recorded = {"cells": [{"set": "a", "sha256": 1}, {"set": "b", "sha256": 2}]}
    asked = {"cells": [{"set": "a", "sha256": 1}, {"set": "b", "sha256": 3}]}
    assert differences(recorded, asked) == [("cells[1].sha256", 2, 3)]
    assert differences([1, 2], [1]) == [("", [1, 2], [1])]
    assert differences([], {}) == [("", [], {})]


def test_what_is_alike_in_many_entries_is_one_line() -> None:
    found = [(f"cells[{n}].sha256", "old", "new") for n in (2, 5, 7)] + [("cells[2].images", 1, 2)]
    assert explain(found).splitlines() == [
        "  cells[2].sha256 (and 2 more like it): recorded 'old', asked 'new'",
        "  cells[2].images: recorded 1, asked 2",
    ]


def test_much_is_told_in_short() -> None:
    lines = explain([(f"key{n}", n, "x" * 500) for n in range(40)]).splitlines()
    assert len(lines) == 13 and lines[-1] == "  … and 28 more"
    assert all(len(line) < 200 for line in lines)
    assert explain([("cells", list(range(100)), list(range(90)))]) == "  cells: recorded 100 entries, asked 90 entries"
