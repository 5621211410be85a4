"""The recipe: learning rates by hand, groups of weight decay by name, AdamW's frozen steps, the logit scale's bound."""

from __future__ import annotations

import math
from typing import Any

import pytest

from synthclip_hpc.config.train import NORMALIZATIONS, TrainConfig
from synthclip_hpc.training.normalization import PIXEL_STATISTICS
from synthclip_hpc.training.recipe import clamp_logit_scale, learning_rate, make_optimizer, param_groups

RATES: dict[str, Any] = {"total_steps": 101, "warmup_steps": 20, "peak": 5e-4, "first": 1e-6, "last": 1e-5}


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 1e-6),
        (1, 1e-6 + 4.99e-4 / 20),
        (10, 2.505e-4),
        (19, 1e-6 + 4.99e-4 * 0.95),
        (20, 5e-4),
        (40, 1e-5 + 4.9e-4 * (2 + math.sqrt(2)) / 4),  # a quarter of the cosine
        (60, 2.55e-4),  # half of it
        (100, 1e-5),
    ],
)
def test_learning_rates_are_those_computed_by_hand(step: int, expected: float) -> None:
    assert learning_rate(step, **RATES) == pytest.approx(expected, rel=1e-12)


def test_the_learning_rate_rises_then_falls() -> None:
    rates = [learning_rate(step, **RATES) for step in range(101)]
    assert rates[:21] == sorted(rates[:21])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert len(set(rates)) == 101


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"warmup_steps": 0, "total_steps": 3}, [5e-4, 2.55e-4, 1e-5]),
        ({"warmup_steps": 0, "total_steps": 1}, [5e-4]),
        ({"warmup_steps": 4, "total_steps": 2}, [1e-6, 1.2575e-4]),
        ({"warmup_steps": 1, "total_steps": 2}, [1e-6, 5e-4]),
    ],
)
def test_short_trainings_have_learning_rates_too(changes: dict[str, int], expected: list[float]) -> None:
    settings = RATES | changes
    found = [learning_rate(step, **settings) for step in range(settings["total_steps"])]
    assert found == pytest.approx(expected, rel=1e-12)


def test_every_name_of_a_normalisation_has_its_numbers() -> None:
    assert set(PIXEL_STATISTICS) == set(NORMALIZATIONS)
    open_clip = pytest.importorskip("open_clip")
    assert PIXEL_STATISTICS["openai"] == (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    from open_clip.constants import IMAGENET_MEAN, IMAGENET_STD

    assert PIXEL_STATISTICS["imagenet"] == (IMAGENET_MEAN, IMAGENET_STD)


def small_module() -> Any:
    """Names and shapes of every kind; small enough to look at."""
    torch = pytest.importorskip("torch")
    from torch import nn

    module = nn.Module()
    module.fc = nn.Linear(3, 2)
    module.ln_final = nn.LayerNorm(3)
    module.bn1 = nn.BatchNorm2d(2)
    module.odd_bias = nn.Parameter(torch.ones(2, 2))
    module.positional_embedding = nn.Parameter(torch.ones(4, 3))
    module.class_embedding = nn.Parameter(torch.ones(3))
    module.frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)
    module.logit_scale = nn.Parameter(torch.tensor(2.6593))
    return module


@pytest.mark.engines
def test_vectors_and_whatever_is_named_a_bias_or_a_norm_is_not_decayed() -> None:
    module = small_module()
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    groups = param_groups(module, 0.5)
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]
    decayed, others = [sorted(names[id(one)] for one in group["params"]) for group in groups]
    assert decayed == ["fc.weight", "positional_embedding"]
    assert others == [
        "bn1.bias",
        "bn1.weight",
        "class_embedding",
        "fc.bias",
        "ln_final.bias",
        "ln_final.weight",
        "logit_scale",
        "odd_bias",
    ]


@pytest.mark.engines
def test_the_optimiser_is_fused_adamw_with_the_configured_numbers() -> None:
    module = small_module()
    optimizer = make_optimizer(module, TrainConfig(lr=1e-3, beta1=0.8, beta2=0.9, eps=1e-7, weight_decay=0.25))
    assert type(optimizer).__name__ == "AdamW"
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.25, 0.0]
    for group in optimizer.param_groups:
        assert (group["lr"], group["betas"], group["eps"], group["fused"]) == (1e-3, (0.8, 0.9), 1e-7, True)
    module.fc.weight.data.fill_(2.0)
    module.fc.bias.data.fill_(2.0)
    for parameter in optimizer.param_groups[0]["params"] + optimizer.param_groups[1]["params"]:
        parameter.grad = parameter.detach().clone().fill_(4.0)
    optimizer.step()
    # The first step of Adam is the learning rate's length; decay takes lr * weight_decay of the weight before it.
    assert module.fc.weight.flatten().tolist() == pytest.approx([2.0 * (1 - 2.5e-4) - 1e-3] * 6, abs=1e-6)
    assert module.fc.bias.tolist() == pytest.approx([2.0 - 1e-3] * 2, abs=1e-6)


@pytest.mark.engines
def test_found_inf_freezes_weights_state_and_step_counts() -> None:
    torch = pytest.importorskip("torch")
    frozen, free = small_module(), small_module()
    free.load_state_dict(frozen.state_dict())
    train = TrainConfig()
    optimizers = [make_optimizer(module, train) for module in (frozen, free)]

    def step(which: int, value: float, found_inf: float | None) -> None:
        module, optimizer = (frozen, free)[which], optimizers[which]
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.full_like(parameter, value)
        if found_inf is not None:
            optimizer.found_inf = torch.tensor(found_inf)  # type: ignore[attr-defined]
        optimizer.step()

    step(0, 1.0, 0.0)
    step(1, 1.0, None)
    for bad in (math.nan, math.inf, 3.0):
        step(0, bad, 1.0)
    counts = {float(state["step"]) for state in optimizers[0].state.values()}
    assert counts == {1.0}
    step(0, 2.0, 0.0)
    step(1, 2.0, None)
    # As if the steps between had never been: the same weights and the same state, bit for bit.
    for (name, one), two in zip(frozen.state_dict().items(), free.state_dict().values(), strict=True):
        assert torch.equal(one, two), name
    states = [list(optimizer.state.values()) for optimizer in optimizers]
    assert len(states[0]) == 10
    for left, right in zip(*states, strict=True):
        assert {key: value.tolist() for key, value in left.items()} == {k: v.tolist() for k, v in right.items()}
    assert {float(state["step"]) for state in states[0]} == {2.0}


@pytest.mark.engines
def test_the_logit_scale_stays_between_one_and_a_hundred() -> None:
    module = small_module()
    for before, after in ((-0.5, 0.0), (2.0, 2.0), (9.0, math.log(100))):
        module.logit_scale.data.fill_(before)
        clamp_logit_scale(module)
        assert module.logit_scale.item() == pytest.approx(after, abs=1e-6)
        assert module.logit_scale.requires_grad
