"""The loader's batches: the same pixels and tokens whatever the ranks, the processes and the first step."""

from __future__ import annotations

import functools
import os

import numpy as np
import pytest
import torch

from sharding.ids import derive
from synthclip_hpc.dataset.index import DatasetIndex
from synthclip_hpc.errors import UserError
from synthclip_hpc.training.data.coloring import recolored
from synthclip_hpc.training.data.cropping import random_box
from synthclip_hpc.training.data.decoding import show
from synthclip_hpc.training.data.loader import open_loader
from synthclip_hpc.training.data.training_data import open_training_data
from synthclip_hpc.training.order import SampleOrder
from tests.synthclip_hpc.training.data_sets import caption, make_data_set

pytestmark = pytest.mark.engines
SIZE, BATCH = 16, 12


@functools.cache
def tokenizer():
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer(context_length=10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_data_set(tmp_path_factory.mktemp("data") / "dataset", {"render": [20, 9, 13]})


def order_of(data):
    return SampleOrder(5, data.shards(), batch_size=BATCH, chunk_samples=4, group_chunks=2, lanes=4)


def loader(folder, steps, rank=0, world_size=1, workers=0, order=None, color_jitter=0.0):
    data = open_training_data([folder])
    return open_loader(
        data,
        order or order_of(data),
        first_step=steps.start,
        last_step=steps.stop,
        rank=rank,
        world_size=world_size,
        image_size=SIZE,
        tokenizer=tokenizer(),
        crop_min=0.5,
        interpolation="bilinear",
        color_jitter=color_jitter,
        seed=5,
        workers=workers,
        prefetch_batches=2,
        pin_memory=False,
    )


def batches(folder, steps, **given):
    with loader(folder, steps, **given) as opened:
        found = list(opened)
        assert opened.next_batch() is None
    assert [batch.step for batch in found] == list(steps)
    return found


@pytest.fixture(scope="module")
def whole(folder):
    """Seven steps in one process: two epochs of three steps, and one step."""
    return batches(folder, range(7))


def test_a_batch_is_what_the_order_says(folder, whole):
    data = open_training_data([folder])
    order = order_of(data)
    with DatasetIndex.open(folder) as index:
        for batch in (whole[0], whole[5]):
            assert (batch.images.dtype, tuple(batch.images.shape)) == (torch.uint8, (BATCH, 3, SIZE, SIZE))
            assert batch.broken == []
            numbers = order.batch(batch.step).tolist()
            assert torch.equal(batch.tokens, tokenizer()([caption(number) for number in numbers]))
            for place, number in enumerate(numbers):
                seed = derive(5, batch.step * BATCH + place, "crop")
                shown = show(index.read(number).image, SIZE, lambda w, h: random_box(w, h, 0.5, seed), "bilinear")  # noqa: B023
                assert np.array_equal(batch.images[place].numpy(), shown.transpose(2, 0, 1))


@pytest.mark.parametrize(("world_size", "workers"), [(1, 1), (1, 3), (2, 0), (2, 1), (4, 2), (2, 8)])
def test_pixels_and_tokens_are_the_same_whoever_makes_them(folder, whole, world_size, workers):
    steps = range(2, 7)  # from the middle of an epoch on
    parts = [batches(folder, steps, rank=rank, world_size=world_size, workers=workers) for rank in range(world_size)]
    for number, step in enumerate(steps):
        assert torch.equal(torch.cat([part[number].images for part in parts]), whole[step].images)
        assert torch.equal(torch.cat([part[number].tokens for part in parts]), whole[step].tokens)


@pytest.mark.parametrize(("world_size", "workers"), [(1, 0), (2, 1), (4, 2)])
def test_random_colours_follow_from_step_and_place_whoever_makes_them(folder, whole, world_size, workers):
    steps = range(2, 5)  # from the middle of an epoch on
    given = {"world_size": world_size, "workers": workers, "color_jitter": 0.4}
    parts = [batches(folder, steps, rank=rank, **given) for rank in range(world_size)]
    for number, step in enumerate(steps):
        images = torch.cat([part[number].images for part in parts])
        assert torch.equal(torch.cat([part[number].tokens for part in parts]), whole[step].tokens)
        for place, plain in enumerate(whole[step].images):
            pixels = np.ascontiguousarray(plain.numpy().transpose(1, 2, 0))
            expected = recolored(pixels, 0.4, derive(5, step * BATCH + place, "color"))
            assert np.array_equal(images[place].numpy(), expected.transpose(2, 0, 1))
            assert not np.array_equal(expected, pixels)


def test_batches_given_out_are_the_callers_own(folder, whole):
    with loader(folder, range(7), workers=2) as opened:
        found = []
        for batch in opened:
            batch.images[:2] = 0
            found.append(batch)
    for batch, right in zip(found, whole, strict=True):
        assert torch.equal(batch.images[2:], right.images[2:])


def damaged(numbers):
    def change(number, members):
        if number not in numbers:
            return members
        (name, image), text, record = members
        if number % 2:
            return [(name, image[:200] + bytes(len(image) - 200)), text, record]
        return [(name, image), (text[0], b" " * len(text[1])), record]

    return change


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_samples_are_told_and_replaced_by_the_next_of_their_group(tmp_path, whole, workers):
    bad = {7, 12, 30}
    folder = make_data_set(tmp_path / "dataset", {"render": [20, 9, 13]}, damaged(bad))
    data = open_training_data([folder])
    order = order_of(data)
    found = batches(folder, range(7), workers=workers)
    seen = set()
    for batch, right in zip(found, whole, strict=True):
        numbers = order.batch(batch.step).tolist()
        assert {one.number for one in batch.broken} >= bad & set(numbers)
        seen |= {(one.number, one.reason) for one in batch.broken}
        for place, number in enumerate(numbers):
            if number in bad:
                spare = next(one for one in order.spares(batch.step, place).tolist() if one not in bad)
                assert torch.equal(batch.tokens[place], tokenizer()([caption(spare)])[0])
            else:
                assert torch.equal(batch.images[place], right.images[place])
                assert torch.equal(batch.tokens[place], right.tokens[place])
    assert {number for number, _ in seen} == bad
    assert {reason for number, reason in seen if number in (12, 30)} == {"no caption"}
    assert all("image" in reason for number, reason in seen if number == 7)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_group_in_which_all_is_broken_is_named(tmp_path, workers):
    folder = make_data_set(tmp_path / "dataset", {"render": [20]}, damaged(set(range(20))))
    with loader(folder, range(1), workers=workers) as opened, pytest.raises(UserError) as error:
        list(opened)
    assert str(error.value).startswith(f"{folder}/shards/00000.tar: 0000")
    assert "and so are all samples that could stand in for it" in str(error.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_tar_that_is_gone_or_short_is_a_users_error(tmp_path, workers):
    folder = make_data_set(tmp_path / "dataset", {"render": [20, 9, 13]})
    tar = folder / "shards/00001.tar"
    os.truncate(tar, tar.stat().st_size // 3)
    with loader(folder, range(7), workers=workers) as opened, pytest.raises(UserError, match="is cut off"):
        list(opened)
    tar.unlink()
    with loader(folder, range(7), workers=workers) as opened, pytest.raises(UserError) as error:
        list(opened)
    assert str(error.value).startswith(f"{tar}: this tar of the training data is gone")


def test_ranks_that_cannot_share_a_batch_are_refused(folder):
    with pytest.raises(UserError, match=r"train\.batch_size=12: 5 ranks cannot share it equally"):
        loader(folder, range(1), world_size=5)
