"""What each of four processes computes for test_gradients.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from synthclip_hpc.training.gradients import Gradients

RANKS = 4
BUCKET_BYTES = 200
STEPS, RESUMED = 6, 3


class Net(nn.Module):
    """Eight layers in several buckets, one parameter that has no part in the loss, and one without dimensions."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            self.layers = nn.ModuleList(nn.Linear(5, 5) for _ in range(8))
            self.unused = nn.Parameter(torch.randn(3, 4))
            self.scale = nn.Parameter(torch.tensor(1.3))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return (x * self.scale).square().sum()


def batch(step: int, rank: int) -> Tensor:
    # Of very different sizes: so the order in which they are added up shows in the last bits.
    generator = torch.Generator().manual_seed(100 * step + rank)
    return torch.randn(4, 5, generator=generator) * 10.0 ** (rank - 1)


def run_rank(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=RANKS)
    found: dict[str, Any] = {"mean": _one(rank, [batch(0, rank)]), "alone": _alone(rank)}
    found["held"] = _one(rank, list(batch(0, rank).split(1)))
    found["sent"] = _order_of_exchanges(rank)
    net = Net()
    trained = dict(_trained(net, rank, range(STEPS)))
    again = Net()
    again.load_state_dict(trained[RESUMED - 1])
    found["trained"] = trained[STEPS - 1]
    found["resumed"] = dict(_trained(again, rank, range(RESUMED, STEPS)))[STEPS - 1]
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


def _one(rank: int, parts: list[Tensor]) -> dict[str, Any]:
    """One step's gradients, of parts of which only the last one is exchanged."""
    net = Net()
    gradients = Gradients(list(net.parameters()), RANKS, BUCKET_BYTES)
    _backward(net, gradients, parts)
    views = all(
        one.grad is not None and any(one.grad._base is bucket.memory for bucket in gradients.buckets)
        for one in net.parameters()
    )
    return {
        "gradients": {name: one.grad.clone() for name, one in net.named_parameters() if one.grad is not None},
        "norm": gradients.norm(),
        "buckets": len(gradients.buckets),
        "views": views,
    }


def _backward(net: Net, gradients: Gradients, parts: list[Tensor]) -> None:
    gradients.begin()
    with gradients.held():
        for part in parts[:-1]:
            net(part).backward()
    net(parts[-1]).backward()
    gradients.finish()


def _alone(rank: int) -> dict[str, Tensor]:
    """This rank's own gradients."""
    net = Net()
    net(batch(0, rank)).backward()
    return {name: one.grad for name, one in net.named_parameters() if one.grad is not None}


def _order_of_exchanges(rank: int) -> list[int]:
    """Which bucket was exchanged when, on ranks that go through the network's layers in different orders."""
    nets = [nn.Linear(5, 5) for _ in range(4)]
    gradients = Gradients([one for net in nets for one in net.parameters()], RANKS, 1)
    sent: list[int] = []
    send = gradients._send

    def watched() -> None:
        sent.append(gradients._next)
        send()

    gradients._send = watched  # type: ignore[method-assign]
    gradients.begin()
    for turn in range(4):
        nets[(turn + rank) % 4](torch.ones(1, 5)).sum().backward()
    gradients.finish()
    return sent


def _trained(net: Net, rank: int, steps: range) -> Iterator[tuple[int, dict[str, Tensor]]]:
    gradients = Gradients(list(net.parameters()), RANKS, BUCKET_BYTES)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-2)
    for step in steps:
        _backward(net, gradients, [batch(step, rank)])
        gradients.scale(torch.clamp(1.0 / gradients.norm(), max=1.0))
        optimizer.step()
        yield step, {name: value.clone() for name, value in net.state_dict().items()}
