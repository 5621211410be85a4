"""What each of four processes computes for test_loss_ranks.py: losses and gradients, in groups of 1, 2 and 4."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from synthclip_hpc.training.accumulation import forward_backward
from synthclip_hpc.training.loss import contrastive_loss
from tests.synthclip_hpc.training.tensor_sizes import LargestTensor
from tests.synthclip_hpc.training.two_towers import TwoTowers, gradients, make_batch, unit_features

RANKS = 4
COUNTS = (1, 2, RANKS)
PAIRS = 16
TILES = (1, 3, 40, None)
WIDE_PAIRS, WIDE_TILE = 256, 16


class Case(NamedTuple):
    """Ranks, parts that a rank's share goes through the model in, rows at a time, and whose gradients flow."""

    ranks: int
    parts: int
    tile: int | None
    gather_grad: bool


CASES = [Case(*values) for values in itertools.product(COUNTS, (1, 4), TILES, (True, False))]


def run_rank(rank: int, folder: Path) -> None:
    """Write `<rank>.pt`: for each case the loss and the gradients, and what else the tests ask for."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=RANKS)
    groups = {count: dist.new_group(list(range(count))) for count in COUNTS}
    found: dict[Any, Any] = {case: _trained(case, rank, groups[case.ranks]) for case in CASES if rank < case.ranks}
    found["open_clip"] = _open_clip(rank)
    found["bfloat16"] = _halved(rank)
    found["largest"] = _largest(rank)
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


def _share(rank: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    images, tokens = make_batch(PAIRS)
    return images.chunk(count)[rank], tokens.chunk(count)[rank]


def _trained(case: Case, rank: int, group: dist.ProcessGroup) -> dict[str, Any]:
    def loss_fn(images: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return contrastive_loss(images, texts, scale, gather_grad=case.gather_grad, tile=case.tile, group=group)

    model = DistributedDataParallel(TwoTowers().double(), process_group=group)
    images, tokens = _share(rank, case.ranks)
    parts = list(zip(images.chunk(case.parts), tokens.chunk(case.parts), strict=True))
    loss = forward_backward(model, parts, loss_fn, no_sync=model.no_sync)
    return {"loss": loss, "parts": len(parts), "gradients": gradients(model.module)}


def _open_clip(rank: int) -> dict[str, torch.Tensor]:
    model = DistributedDataParallel(TwoTowers().double())
    _clip_loss()(local_loss=True, gather_with_grad=True, rank=rank, world_size=RANKS)(
        *model(*_share(rank, RANKS))
    ).backward()
    return gradients(model.module)


def _clip_loss() -> Any:
    """open_clip's ClipLoss, from its file: the whole package takes seconds to import, in each of the processes."""
    package = importlib.util.find_spec("open_clip")
    assert package is not None and package.origin is not None
    spec = importlib.util.spec_from_file_location("clip_loss_alone", Path(package.origin).with_name("loss.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ClipLoss


def _halved(rank: int) -> list[torch.Tensor]:
    """The loss of bfloat16 features and of the same ones in float32."""
    images, texts, scale = unit_features(PAIRS, 5, torch.bfloat16)
    own = [side.chunk(RANKS)[rank] for side in (images, texts)]
    wide = [side.float() for side in own]
    return [contrastive_loss(one, other, scale, gather_grad=True, tile=3) for one, other in (own, wide)]


def _largest(rank: int) -> int:
    images, texts, scale = unit_features(WIDE_PAIRS, 4)
    own_images, own_texts = (side.detach().chunk(RANKS)[rank].requires_grad_() for side in (images, texts))
    with LargestTensor() as largest:
        contrastive_loss(own_images, own_texts, scale, gather_grad=True, tile=WIDE_TILE).backward()
    return largest.elements
