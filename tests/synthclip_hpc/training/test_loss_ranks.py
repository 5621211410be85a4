"""The loss over several processes: it is that of the whole batch in one process, value and gradients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
open_clip_loss = pytest.importorskip("open_clip.loss")

from torch.nn.functional import cross_entropy  # noqa: E402

from tests.synthclip_hpc.training import loss_ranks  # noqa: E402
from tests.synthclip_hpc.training.loss_ranks import CASES, PAIRS, RANKS, WIDE_PAIRS, WIDE_TILE, Case  # noqa: E402
from tests.synthclip_hpc.training.two_towers import TwoTowers, gradients, make_batch  # noqa: E402

pytestmark = pytest.mark.engines
CLOSE = {"rtol": 0.0, "atol": 1e-10}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[Any, Any]]:
    """What each rank wrote."""
    folder: Path = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(loss_ranks.run_rank, args=(folder,), nprocs=RANKS, daemon=True)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(RANKS)]


def whole_batch(loss_fn: Callable[..., Any]) -> tuple[Any, dict[str, Any]]:
    model = TwoTowers().double()
    loss = loss_fn(*model(*make_batch(PAIRS)))
    loss.backward()
    return loss.detach(), gradients(model)


def slip(images: Any, texts: Any, scale: Any) -> Any:
    """SLIP's rule: what an image or text is compared with is constant."""
    places = torch.arange(len(images))
    of_images = cross_entropy(scale * images @ texts.detach().T, places)
    return (of_images + cross_entropy(scale * texts @ images.detach().T, places)) / 2


@pytest.mark.parametrize("case", CASES, ids=str)
def test_loss_and_averaged_gradients_are_those_of_the_whole_batch(found: list[dict[Any, Any]], case: Case) -> None:
    loss, wanted = whole_batch(open_clip_loss.ClipLoss() if case.gather_grad else slip)
    ranks = [values[case] for values in found if case in values]
    assert [rank["parts"] for rank in ranks] == [case.parts] * case.ranks
    for rank in ranks:
        assert torch.equal(rank["loss"], ranks[0]["loss"])
        torch.testing.assert_close(rank["loss"], loss, **CLOSE)
        torch.testing.assert_close(rank["gradients"], wanted, **CLOSE)


def test_constant_others_change_the_gradients_but_not_the_loss() -> None:
    (loss, full), (same_loss, held) = whole_batch(open_clip_loss.ClipLoss()), whole_batch(slip)
    torch.testing.assert_close(loss, same_loss, **CLOSE)
    assert (full["words.weight"] - held["words.weight"]).abs().max() > 1e-3


def test_gradients_are_those_of_open_clips_own_loss_on_the_same_ranks(found: list[dict[Any, Any]]) -> None:
    for rank in found:
        torch.testing.assert_close(rank[Case(RANKS, 1, 3, True)]["gradients"], rank["open_clip"], **CLOSE)


def test_half_precision_features_are_gathered_as_they_are_and_computed_with_in_float32(
    found: list[dict[Any, Any]],
) -> None:
    for rank in found:
        half, single = rank["bfloat16"]
        assert half.dtype == torch.float32
        assert torch.equal(half, single)


def test_no_rank_makes_a_tensor_larger_than_one_tile(found: list[dict[Any, Any]]) -> None:
    assert [rank["largest"] for rank in found] == [WIDE_TILE * WIDE_PAIRS] * RANKS
