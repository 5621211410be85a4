from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from synthclip_hpc.captioning.engines import sampling as sampling_module
from synthclip_hpc.captioning.engines.sampling import Sampler, Sampling, draw, uniform_numbers

pytestmark = pytest.mark.engines

WEIGHTS = [0.31, 0.02, 0.24, 0.13, 0.0, 0.2, 0.1]


def nucleus(probabilities: list[float], top_p: float) -> dict[int, float]:
    """The definition: likeliest tokens first, until they reach `top_p` together; then scaled to 1."""
    kept: dict[int, float] = {}
    for token in sorted(range(len(probabilities)), key=lambda token: -probabilities[token]):
        if sum(kept.values()) >= top_p:
            break
        kept[token] = probabilities[token]
    return {token: value / sum(kept.values()) for token, value in kept.items() if value > 0}


def drawn(probabilities: list[float], uniform: np.ndarray, top_p: float) -> list[int]:
    rows = torch.tensor([probabilities], dtype=torch.float32).expand(len(uniform), -1).contiguous()
    tokens: list[int] = draw(
        rows, torch.from_numpy(uniform), top_p, torch.zeros(len(uniform), dtype=torch.bool)
    ).tolist()
    return tokens


def sampler(sampling: Sampling, seeds: list[int], steps: int, stop_ids: tuple[int, ...] = ()) -> Sampler:
    numbers = torch.from_numpy(uniform_numbers(seeds, steps))
    return Sampler(sampling, numbers, torch.tensor(stop_ids, dtype=torch.int64))


@pytest.mark.parametrize("candidates", [2, 512])
@pytest.mark.parametrize("top_p", [0.05, 0.31, 0.5, 0.8, 0.95, 1.0])
def test_every_token_is_drawn_as_often_as_the_definition_says(top_p, candidates, monkeypatch):
    monkeypatch.setattr(sampling_module, "CANDIDATES", candidates)
    points = 20_000
    counts = Counter(drawn(WEIGHTS, (np.arange(points) + 0.5) / points, top_p))
    expected = nucleus(WEIGHTS, top_p)
    assert set(counts) == set(expected)
    for token, share in expected.items():
        # Equally spaced numbers hit an interval of the cumulative distribution in proportion, to one at each end.
        assert abs(counts[token] - share * points) <= 2


@pytest.mark.parametrize("top_p", [0.3, 0.95, 0.9999, 1.0])
def test_looking_at_few_candidates_first_changes_no_token(top_p, monkeypatch):
    generator = torch.Generator().manual_seed(5)
    spread = torch.tensor([0.3, 1.0, 3.0, 10.0]).repeat(25)[:, None]
    rows = torch.softmax(torch.randn(100, 3000, generator=generator) * spread, -1)
    uniform = torch.from_numpy(uniform_numbers(range(100), 1)[:, 0])
    busy = torch.zeros(100, dtype=torch.bool)
    monkeypatch.setattr(sampling_module, "CANDIDATES", 3000)
    whole = draw(rows, uniform, top_p, busy)
    monkeypatch.setattr(sampling_module, "CANDIDATES", 50)
    assert torch.equal(draw(rows, uniform, top_p, busy), whole)
    sorted_rows: list[int] = []
    monkeypatch.setattr(sampling_module, "_check_numbers", lambda values: sorted_rows.append(len(values)))
    draw(rows, uniform, top_p, busy)
    # The test says nothing unless some rows were decided by few candidates and some were not.
    assert 0 < sum(sorted_rows) < 100


def test_tokens_of_real_seeds_pass_a_chi_square_test():
    uniform = uniform_numbers(range(20_000), 3)[:, 2]
    expected = nucleus(WEIGHTS, 0.95)
    counts = Counter(drawn(WEIGHTS, uniform, 0.95))
    assert set(counts) == set(expected)
    statistic = sum((counts[token] - 20_000 * share) ** 2 / (20_000 * share) for token, share in expected.items())
    assert statistic < 18.5  # the 99.9 % point with 4 degrees of freedom


@pytest.mark.parametrize("top_p", [0.95, 1.0])
def test_a_token_without_probability_is_never_drawn(top_p):
    last = 1 - 2**-53
    assert drawn([0.0, 0.6, 0.4, 0.0], np.array([0.0, last, last]), top_p) == [1, 2, 2]


def test_numbers_follow_from_all_64_bits_of_a_seed_and_from_nothing_else():
    seeds = [1, 1 + 2**32, 1 + 2**63, 2**64 - 1]
    numbers = uniform_numbers(seeds, 8)
    assert numbers.shape == (4, 8) and numbers.dtype == np.float64
    assert numbers.min() >= 0 and numbers.max() < 1
    assert len(np.unique(numbers)) == 32
    for place, seed in enumerate(seeds):
        assert np.array_equal(uniform_numbers([7, seed], 5)[1], numbers[place, :5])


def test_penalties_count_what_the_answer_has_already():
    chooser = sampler(Sampling(0.0, 1.0, presence_penalty=1.0, frequency_penalty=0.5), [0, 0], 5)
    logits = [[4.0, 3.2, 2.0, 0.0], [9.0, 0.0, 0.0, 0.0]]
    chosen = [chooser.choose(torch.tensor(logits)).tolist() for _ in range(5)]
    # By hand, first row: 4.0/3.2/2.0, 2.5/3.2/2.0, 2.5/1.7/2.0, 2.0/1.7/2.0 (first of equals), 1.5/1.7/2.0.
    assert [tokens[0] for tokens in chosen] == [0, 1, 0, 0, 2]
    assert [tokens[1] for tokens in chosen] == [0, 0, 0, 0, 0]


def test_a_repeated_token_loses_the_presence_penalty_once_and_the_frequency_penalty_each_time():
    chooser = sampler(Sampling(1.0, 1.0, presence_penalty=0.7, frequency_penalty=0.3), [3], 4)
    for _ in range(3):
        chooser.choose(torch.tensor([[60.0, 0.0, 0.0]]))
    logits = torch.tensor([[60.0, 0.0, 0.0]])
    chooser._penalise(logits)
    assert logits[0].tolist() == pytest.approx([60 - 0.7 - 3 * 0.3, 0.0, 0.0])


def test_temperature_shapes_the_distribution_before_the_nucleus_is_cut():
    logits = [2.0, 1.0, 0.5, -1.0]
    heated = [math.exp(value / 0.7) for value in logits]
    expected = nucleus([value / sum(heated) for value in heated], 0.9)
    count = 10_000
    chooser = Sampler(
        Sampling(0.7, 0.9),
        torch.linspace(0, 1 - 1e-9, count, dtype=torch.float64)[:, None],
        torch.tensor([], dtype=int),
    )
    counts = Counter(chooser.choose(torch.tensor([logits]).repeat(count, 1)).tolist())
    assert counts.keys() == expected.keys()
    assert all(abs(counts[token] - share * count) <= 2 for token, share in expected.items())


def test_every_step_uses_a_number_of_its_own():
    seeds, steps = [21, 22, 23], 8
    logits = torch.randn(len(seeds), 500, generator=torch.Generator().manual_seed(4))
    chooser = sampler(Sampling(1.0, 0.95), seeds, steps)
    chosen = [chooser.choose(logits.clone()).tolist() for _ in range(steps)]
    numbers = torch.from_numpy(uniform_numbers(seeds, steps))
    busy = torch.zeros(len(seeds), dtype=torch.bool)
    probabilities = torch.softmax(logits, -1)
    assert chosen == [draw(probabilities, numbers[:, step], 0.95, busy).tolist() for step in range(steps)]
    assert len({tuple(tokens) for tokens in chosen}) == steps


def test_a_rows_tokens_do_not_depend_on_the_other_rows():
    steps, vocabulary, seeds = 12, 600, [11, 12, 13, 14, 15]
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(steps, len(seeds), vocabulary, generator=generator) * 2
    settings = Sampling(0.9, 0.9, 1.0, 1.0)
    together = sampler(settings, seeds, steps)
    chosen = torch.stack([together.choose(logits[step].clone()) for step in range(steps)])
    alone = []
    for row, seed in enumerate(seeds):
        one = sampler(settings, [seed], steps)
        alone.append([int(one.choose(logits[step, row : row + 1].clone())) for step in range(steps)])
    assert chosen.T.tolist() == alone
    assert len({tuple(tokens) for tokens in alone}) == len(seeds)


def test_a_finished_row_neither_disturbs_the_others_nor_needs_numbers():
    chooser = sampler(Sampling(0.7, 0.95, 1.0, 1.0), [1, 2], 3, stop_ids=(0,))
    chooser.choose(torch.tensor([[50.0, 0.0, 0.0], [0.0, 50.0, 0.0]]))
    assert chooser.ended.tolist() == [True, False]
    second = chooser.choose(torch.tensor([[math.nan] * 3, [0.0, 0.0, 50.0]]))
    assert int(second[1]) == 2


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_logits_that_are_no_numbers_are_an_error(temperature):
    chooser = sampler(Sampling(temperature, 0.95), [1, 2], 3)
    with pytest.raises(RuntimeError, match="not a number"):
        chooser.choose(torch.tensor([[0.0, 1.0], [math.nan, 0.0]]))


def test_as_a_logits_processor_the_argmax_is_the_token_drawn():
    seeds = list(range(40))
    logits = torch.randn(40, 300, generator=torch.Generator().manual_seed(2))
    settings = Sampling(1.0, 0.95)
    expected = sampler(settings, seeds, 1).choose(logits.clone())
    scores = sampler(settings, seeds, 1)(torch.zeros(40, 7, dtype=torch.int64), logits.clone())
    assert torch.equal(scores.argmax(-1), expected)
    assert len(set(expected.tolist())) > 20
