"""What `train.loss` and `train.loss_tile` may say."""

from __future__ import annotations

import subprocess
import sys

import pytest

from synthclip_hpc.config.train import LOSSES, TrainConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.training.loss_choice import chosen_tile


def test_every_loss_that_is_named_can_be_chosen() -> None:
    assert {loss: chosen_tile(loss, 7) for loss in LOSSES} == {"full": None, "tiled": 7}
    default = TrainConfig()
    assert chosen_tile(default.loss, default.loss_tile) == 1024


@pytest.mark.parametrize(
    ("loss", "tile", "words"),
    [
        ("tilde", 8, ("train.loss=tilde", "did you mean 'tiled'?", "full, tiled")),
        ("tiled", 0, ("train.loss_tile=0", "from 1", "train.loss=full")),
        ("tiled", -4, ("train.loss_tile=-4", "from 1", "train.loss=full")),
    ],
)
def test_others_are_refused_by_their_key(loss: str, tile: int, words: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        chosen_tile(loss, tile)
    assert [word for word in words if word not in str(caught.value)] == []


def test_choosing_needs_no_torch() -> None:
    code = "import sys, synthclip_hpc.training.loss_choice; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
