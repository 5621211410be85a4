"""Delta_MTL against the values that the paper prints, recomputed from its printed means."""

from __future__ import annotations

import pytest

from evals.delta_mtl import Options, delta_mtl, run
from evals.errors import EvalError

CC3M = [63.3, 74.2, 33.7, 42.9, 14.9]
CC12M = [76.7, 84.9, 58.9, 71.7, 33.6]

# Linear probe, few-shot, image retrieval, text retrieval, zero-shot: Tables 1, 2, 7 and 8.
PRINTED = [
    ([63.7, 73.8, 33.9, 46.0, 9.5], CC3M, -5.67),
    ([71.7, 79.8, 51.5, 68.0, 18.5], CC3M, 31.26),
    ([71.7, 79.8, 51.5, 68.0, 18.5], CC12M, -15.04),
    ([72.5, 81.2, 52.9, 69.0, 20.9], CC3M, 36.41),
    ([72.5, 81.2, 52.9, 69.0, 20.9], CC12M, -12.32),
    ([74.6, 83.4, 59.0, 75.7, 28.0], CC3M, 53.94),
    ([74.6, 83.4, 59.0, 75.7, 28.0], CC12M, -3.08),
    ([75.0, 84.9, 61.7, 77.1, 30.5], CC3M, 60.08),
    ([75.0, 84.9, 61.7, 77.1, 30.5], CC12M, 0.17),
    ([76.2, 86.0, 67.5, 74.7, 34.4], CC12M, 4.36),
    ([76.1, 86.1, 67.8, 79.3, 35.2], CC12M, 6.22),
    ([77.3, 86.9, 68.6, 80.8, 37.9], CC12M, 9.02),
    ([76.0, 86.0, 67.2, 78.7, 34.5], CC12M, 5.38),
    ([76.5, 86.0, 67.9, 79.8, 36.0], CC12M, 6.95),
    ([77.3, 86.6, 68.6, 80.4, 38.6], CC12M, 9.25),
    ([85.8, 92.6, 78.1, 89.8, 66.7], [85.7, 92.4, 75.6, 88.1, 68.6], 0.56),
    ([78.7, 87.0, 64.7, 79.6, 39.1], CC12M, 8.46),
]


@pytest.mark.parametrize(("model", "baseline", "value"), PRINTED)
def test_rows_of_the_paper(model, baseline, value):
    assert delta_mtl(model, baseline) == pytest.approx(value, abs=0.01)


def test_lower_is_better_turns_the_sign_of_that_task_alone():
    assert delta_mtl([2.0, 3.0], [1.0, 4.0]) == pytest.approx((100 - 25) / 2)
    assert delta_mtl([2.0, 3.0], [1.0, 4.0], [False, True]) == pytest.approx((100 + 25) / 2)


def test_command_line_reads_lists_and_places():
    record = run(Options(model="2,3", baseline="1,4", lower_is_better="2"))
    assert record["task"] == "delta_mtl"
    assert record["metrics"] == {"delta_mtl_percent": pytest.approx(62.5)}


@pytest.mark.parametrize(
    ("model", "baseline", "lower", "told"),
    [
        ("1,2", "1", None, "1 figures for 2"),
        ("1,x", "1,2", None, "model=1,x"),
        ("1,2", "1,0", None, "baseline"),
        ("1,nan", "1,2", None, "model: nan"),
        ("1,2", "1,2", "3", "from 1 to 2"),
    ],
)
def test_mistakes_name_the_argument(model, baseline, lower, told):
    with pytest.raises(EvalError, match=told):
        run(Options(model=model, baseline=baseline, lower_is_better=lower))
