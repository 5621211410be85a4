"""Gradients of four ranks: their mean, exchanged in one order, and the same in a training that is resumed."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from synthclip_hpc.training.gradients import Gradients  # noqa: E402
from tests.synthclip_hpc.training import gradient_ranks  # noqa: E402
from tests.synthclip_hpc.training.gradient_ranks import BUCKET_BYTES, RANKS, Net, batch  # noqa: E402

pytestmark = pytest.mark.engines
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> list[dict[str, Any]]:
    """What each rank wrote."""
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(gradient_ranks.run_rank, args=(folder,), nprocs=RANKS, daemon=True)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(RANKS)]


@pytest.mark.parametrize("case", ["mean", "held"])
def test_each_rank_gets_the_mean_of_all_ranks_gradients(found, case):
    alone = [values["alone"] for values in found]
    assert "unused" not in alone[0] and len(alone[0]) == 17
    mean = {name: torch.stack([one[name] for one in alone]).mean(0) for name in alone[0]}
    for rank in found:
        gradients = rank[case]["gradients"]
        assert gradients.keys() == {*mean, "unused"}
        torch.testing.assert_close({name: gradients[name] for name in mean}, mean, **CLOSE)
        assert not gradients["unused"].any()
        assert all(torch.equal(gradients[name], found[0][case]["gradients"][name]) for name in gradients)
        assert rank[case]["views"] and rank[case]["buckets"] > 4
        whole = torch.cat([one.flatten() for one in gradients.values()])
        torch.testing.assert_close(rank[case]["norm"], whole.norm(), **CLOSE)


def test_a_training_that_is_resumed_is_the_one_that_went_on_to_the_last_bit(found):
    start = Net().state_dict()
    for rank in found:
        trained, resumed = rank["trained"], rank["resumed"]
        assert all(torch.equal(trained[name], resumed[name]) for name in start)
        assert all(torch.equal(trained[name], found[0]["trained"][name]) for name in start)
        changed = [name for name in start if not torch.equal(trained[name], start[name])]
        assert len(changed) == len(start) - 1 and "unused" not in changed


def test_buckets_are_exchanged_in_one_order_whatever_gradient_comes_first(found):
    for rank in found:
        assert rank["sent"] == list(range(8))


def test_one_rank_alone_has_its_own_gradients_and_no_group():
    net, same = Net(), Net()
    gradients = Gradients(list(net.parameters()), 1, BUCKET_BYTES)
    for _ in range(2):  # the second time what was there is gone
        gradients.begin()
        net(batch(0, 1)).backward()
        gradients.finish()
    same(batch(0, 1)).backward()
    for one, other in zip(net.layers.parameters(), same.layers.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


@pytest.mark.parametrize("count", [1, 2])
def test_a_parameters_gradient_has_the_parameters_layout(count, monkeypatch):
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda memory, async_op: Done())
    net = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    gradients = Gradients(list(net.parameters()), count)
    gradients.begin()
    net(torch.ones(1, 3, 5, 5)).sum().backward()
    gradients.finish()
    assert net.weight.grad.stride() == net.weight.stride() != net.weight.contiguous().stride()
    if count == 2:
        assert net.weight.grad._base is gradients.buckets[0].memory
        assert gradients.buckets[0].memory.numel() == 4 * 27 + 4


class Done:
    def wait(self):
        pass
