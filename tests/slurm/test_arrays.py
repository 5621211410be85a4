from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm.arrays import max_array_size, split_array


@given(st.integers(1, 5000), st.integers(1, 1001), st.integers(0, 200))
def test_every_element_is_in_one_array_and_the_throttle_holds_for_all_together(elements, limit, throttle):
    parts = split_array(elements, limit, throttle)
    covered = [number for part in parts for number in range(part.first, part.first + part.count)]
    assert covered == list(range(elements))
    assert all(part.count <= limit for part in parts)
    if throttle == 0:
        assert all(part.throttle == 0 for part in parts)
    elif any(part.after_previous for part in parts):
        assert [part.after_previous for part in parts] == [False] + [True] * (len(parts) - 1)
        assert {part.throttle for part in parts} == {throttle}
    else:
        assert sum(part.throttle for part in parts) == throttle
        assert min(part.throttle for part in parts) >= 1


def test_the_limit_bounds_the_index_and_not_only_the_count():
    parts = split_array(2000, 1001, 0)
    assert [(part.first, part.count) for part in parts] == [(0, 1001), (1001, 999)]


def test_a_cluster_without_arrays_gets_plain_jobs():
    assert [part.count for part in split_array(3, 0, 0)] == [1, 1, 1]


def test_the_cluster_is_asked_for_its_limit(fake_slurm):
    fake_slurm.answer(
        "scontrol", {"stdout": "MaxArrayTasks           = 7\nMaxArraySize            = 4001\nMaxJobCount = 9\n"}
    )
    assert max_array_size() == 4001
    assert fake_slurm.arguments("scontrol") == [["show", "config"]]


@pytest.mark.parametrize("answer", [{"stdout": "nonsense"}, {"exit": 1, "stderr": "down"}, {"sleep_s": 60}])
def test_slurms_default_is_assumed_when_the_cluster_does_not_say(fake_slurm, answer):
    fake_slurm.answer("scontrol", answer)
    assert max_array_size(timeout_s=0.3) == 1001


def test_slurms_default_is_assumed_without_slurm(fake_slurm):
    fake_slurm.remove("scontrol")
    assert max_array_size() == 1001
