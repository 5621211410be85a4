"""The contrastive loss in one process: values, gradients, memory, number formats, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from synthclip_hpc.training.loss import contrastive_loss  # noqa: E402
from tests.synthclip_hpc.training.tensor_sizes import LargestTensor  # noqa: E402
from tests.synthclip_hpc.training.two_towers import unit_features  # noqa: E402

pytestmark = pytest.mark.engines
TILES = [1, 3, 100, None]


def values(inputs: list[Any], tile: int | None, gather_grad: bool = True) -> list[Any]:
    """The loss and the gradients of the inputs."""
    loss = contrastive_loss(*inputs, gather_grad=gather_grad, tile=tile)
    return [loss.detach(), *torch.autograd.grad(loss, inputs)]


def test_loss_of_two_pairs_is_what_a_pencil_finds() -> None:
    images, texts = torch.eye(2, dtype=torch.float64), torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    # Logits 2 * [[1, 0.6], [0, 0.8]]: by rows, then by columns.
    parts = torch.tensor([[-0.8, 0.0], [-1.6, 0.0], [-2.0, 0.0], [-0.4, 0.0]], dtype=torch.float64)
    wanted = parts.exp().sum(dim=1).log().mean()
    for tile in TILES:
        loss = contrastive_loss(images, texts, torch.tensor(2.0, dtype=torch.float64), gather_grad=True, tile=tile)
        torch.testing.assert_close(loss, wanted, rtol=0, atol=1e-14)


@pytest.mark.parametrize("tile", [2, 5, 7])
def test_gradients_are_those_of_finite_differences(tile: int) -> None:
    inputs = unit_features(5, 3)
    assert torch.autograd.gradcheck(
        lambda *given: contrastive_loss(*given, gather_grad=True, tile=tile), inputs, raise_exception=True
    )


@pytest.mark.parametrize("gather_grad", [True, False])
def test_gradient_follows_a_factor_on_the_loss_and_the_shape_of_the_scale(gather_grad: bool) -> None:
    images, texts, scale = unit_features(7, 4)
    plain = values([images, texts, scale], 3, gather_grad)[1:]
    column = scale.detach().reshape(1, 1).requires_grad_()
    inputs = [images, texts, column]
    loss = contrastive_loss(*inputs, gather_grad=gather_grad, tile=3)
    scaled = torch.autograd.grad(loss * 1024, inputs)
    assert loss.shape == () and scaled[2].shape == (1, 1)
    for one, other in zip(plain, scaled, strict=True):
        torch.testing.assert_close(one * 1024, other.reshape(one.shape))


def test_tiled_loss_makes_no_tensor_larger_than_a_tile_and_keeps_none() -> None:
    count, width, tile = 96, 4, 8
    kept: list[int] = []

    def keep(tensor: Any) -> Any:
        kept.append(tensor.numel())
        return tensor

    inputs = unit_features(count, width)
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with LargestTensor() as largest, hooks:
        contrastive_loss(*inputs, gather_grad=True, tile=tile).backward()
    assert largest.elements == tile * count
    assert sum(kept) == 2 * count * width + 2 * count + 1

    with LargestTensor() as largest:
        contrastive_loss(*inputs, gather_grad=True, tile=None).backward()
    assert largest.elements == count * count


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_and_half_precision_do_not_reach_the_logits(dtype: Any, tile: int | None) -> None:
    inputs = unit_features(9, 4, dtype)
    wide = [given.detach().float().requires_grad_() for given in inputs]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = contrastive_loss(*inputs, gather_grad=True, tile=tile)
    # Plain autograd's own backward pass would be cast in an autocast.
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=tile is not None):
        half = [loss.detach(), *torch.autograd.grad(loss, inputs)]
    single = values(wide, tile)
    assert [value.dtype for value in half] == [torch.float32, dtype, dtype, dtype]
    assert torch.equal(half[0], single[0])
    for one, other in zip(half[1:], single[1:], strict=True):
        torch.testing.assert_close(one, other.to(dtype))


@pytest.mark.parametrize("tile", TILES)
def test_large_scales_neither_overflow_nor_vanish(tile: int | None) -> None:
    single = unit_features(20, 3, torch.float32)
    with torch.no_grad():
        single[2].fill_(100.0)
    double = [given.detach().double().requires_grad_() for given in single]
    for one, other in zip(values(single, tile), values(double, None), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_comes_out_as_nan(bad: float, tile: int | None) -> None:
    inputs = unit_features(6, 4)
    with torch.no_grad():
        inputs[0][2, 1] = bad
    assert torch.isnan(contrastive_loss(*inputs, gather_grad=True, tile=tile))


@pytest.mark.parametrize(
    ("shapes", "dtype", "tile", "message"),
    [
        (((3, 4), (2, 4), ()), torch.float32, 1, "wanted (n, D) twice"),
        (((0, 4), (0, 4), ()), torch.float32, 1, "wanted (n, D) twice"),
        (((3,), (3,), ()), torch.float32, 1, "wanted (n, D) twice"),
        (((3, 4), (3, 4), (2,)), torch.float32, 1, "wanted one number"),
        (((3, 4), (3, 4), ()), torch.int64, 1, "wanted floating-point numbers"),
        (((3, 4), (3, 4), ()), torch.float32, 0, "wanted 1 row at least"),
    ],
)
def test_inputs_that_make_no_sense_are_refused(shapes: Any, dtype: Any, tile: int, message: str) -> None:
    images, texts, scale = (torch.ones(shape, dtype=dtype) for shape in shapes)
    with pytest.raises(ValueError) as caught:
        contrastive_loss(images, texts, scale, gather_grad=True, tile=tile)
    assert message in str(caught.value)
