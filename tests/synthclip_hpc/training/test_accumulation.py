"""Batches that go through the model in parts: the gradients are those of the whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from synthclip_hpc.training.accumulation import forward_backward  # noqa: E402
from synthclip_hpc.training.loss import contrastive_loss  # noqa: E402
from tests.synthclip_hpc.training.two_towers import TwoTowers, gradients, make_batch  # noqa: E402

pytestmark = pytest.mark.engines
SIZES = [3, 1, 4]
CLOSE = {"rtol": 0.0, "atol": 1e-12}


def loss_fn(images: Any, texts: Any, scale: Any) -> Any:
    return contrastive_loss(images, texts, scale, gather_grad=True, tile=3)


def in_parts(dtype: Any = torch.float64) -> list[tuple[Any, Any]]:
    images, tokens = make_batch(sum(SIZES), dtype)
    return list(zip(images.split(SIZES), tokens.split(SIZES), strict=True))


def at_once(model: TwoTowers, parts: list[tuple[Any, Any]]) -> Any:
    """The loss of all parts and its gradients, with all graphs kept."""
    outputs = [model(*part) for part in parts]
    loss = loss_fn(torch.cat([one[0] for one in outputs]), torch.cat([one[1] for one in outputs]), outputs[0][2])
    loss.backward()
    return loss.detach()


@pytest.mark.parametrize("output_dict", [False, True])
def test_parts_of_any_sizes_give_the_gradients_of_the_whole(output_dict: bool) -> None:
    whole, parted = TwoTowers().double(), TwoTowers(output_dict=output_dict).double()
    wanted = forward_backward(whole, [make_batch(sum(SIZES))], loss_fn, no_sync=contextlib.nullcontext)
    found = forward_backward(parted, in_parts(), loss_fn, no_sync=contextlib.nullcontext)
    assert not found.requires_grad and not wanted.requires_grad
    torch.testing.assert_close(found, wanted, **CLOSE)
    torch.testing.assert_close(gradients(parted), gradients(whole), **CLOSE)


def test_dropout_is_the_same_in_both_passes_and_the_generator_moves_once() -> None:
    parts = in_parts()
    models = [TwoTowers(dropout=0.5).double() for _ in range(2)]
    torch.manual_seed(11)
    wanted, wanted_state = at_once(models[0], parts), torch.get_rng_state()
    torch.manual_seed(11)
    found = forward_backward(models[1], parts, loss_fn, no_sync=contextlib.nullcontext)
    assert torch.equal(torch.get_rng_state(), wanted_state)
    torch.testing.assert_close(found, wanted, **CLOSE)
    torch.testing.assert_close(gradients(models[1]), gradients(models[0]), **CLOSE)


def test_batch_norm_counts_each_part_once() -> None:
    parts = [make_batch(count) for count in (4, 5, 6)]
    models = [TwoTowers(batch_norm=True).double() for _ in range(2)]
    at_once(models[0], parts)
    forward_backward(models[1], parts, loss_fn, no_sync=contextlib.nullcontext)
    wanted, found = (dict(model.named_buffers()) for model in models)
    assert found["visual.1.num_batches_tracked"] == 3
    torch.testing.assert_close(found, wanted, **CLOSE)
    torch.testing.assert_close(gradients(models[1]), gradients(models[0]), **CLOSE)


def test_graphs_and_exchanges_are_for_the_passes_that_need_them() -> None:
    held = []

    @contextlib.contextmanager
    def no_sync() -> Iterator[None]:
        held.append(len(model.with_graph))
        yield

    model = TwoTowers().double()
    forward_backward(model, in_parts(), loss_fn, no_sync=no_sync)
    assert model.with_graph == [False, False, False, True, True, True]
    # Around the fourth and the fifth forward pass: the gradients are exchanged after the last one.
    assert held == [3, 4]

    model = TwoTowers().double()
    forward_backward(model, in_parts()[:1], loss_fn, no_sync=no_sync)
    assert model.with_graph == [True]
    assert held == [3, 4]


@pytest.mark.parametrize("count", [1, 3])
def test_a_scaled_loss_scales_the_gradients_and_not_what_is_returned(count: int) -> None:
    plain, scaled = TwoTowers().double(), TwoTowers().double()
    parts = in_parts()[:count]
    wanted = forward_backward(plain, parts, loss_fn, no_sync=contextlib.nullcontext)
    found = forward_backward(scaled, parts, loss_fn, no_sync=contextlib.nullcontext, scaled=lambda loss: loss * 1024)
    assert torch.equal(found, wanted)
    torch.testing.assert_close({name: value / 1024 for name, value in gradients(scaled).items()}, gradients(plain))


def test_autocast_of_the_first_pass_leaves_the_second_its_gradients() -> None:
    whole, parted = TwoTowers(), TwoTowers()

    def autocast() -> Any:
        return torch.autocast("cpu", dtype=torch.bfloat16)

    images, tokens = make_batch(sum(SIZES), torch.float32)
    forward_backward(whole, [(images, tokens)], loss_fn, no_sync=contextlib.nullcontext, autocast=autocast)
    forward_backward(parted, in_parts(torch.float32), loss_fn, no_sync=contextlib.nullcontext, autocast=autocast)
    assert gradients(whole)["visual.0.weight"].abs().max() > 1e-2
    torch.testing.assert_close(gradients(parted), gradients(whole), rtol=0.02, atol=2e-3)


def test_gradients_add_to_those_that_are_there() -> None:
    once, twice = TwoTowers().double(), TwoTowers().double()
    forward_backward(once, in_parts(), loss_fn, no_sync=contextlib.nullcontext)
    for _ in range(2):
        forward_backward(twice, in_parts(), loss_fn, no_sync=contextlib.nullcontext)
    torch.testing.assert_close(gradients(twice), {name: 2 * value for name, value in gradients(once).items()})


def test_no_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="wanted one at least"):
        forward_backward(TwoTowers(), [], loss_fn, no_sync=contextlib.nullcontext)
