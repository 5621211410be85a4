"""A batch of images: tries, seeds, and what is refused."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from synthclip_hpc.rendering.drawing import UNIFORM, draw_batch, image_seed
from synthclip_hpc.rendering.renderer import Picture, Request

CAPTIONS = [(1, "a cat"), (2, "a dog"), (3, "a cow")]


def noise(request: Request) -> np.ndarray:
    return np.random.default_rng(request.seed).integers(0, 256, (8, 8, 3)).astype(np.uint8)


def good(request: Request) -> Picture:
    return Picture(noise(request))


def test_each_caption_gets_the_picture_of_its_own_first_seed():
    drawn = draw_batch(lambda batch: [good(one) for one in batch], CAPTIONS, run_seed=7, max_tries=3)
    assert [one.seed for one in drawn] == [image_seed(7, caption_id, 0) for caption_id, _ in CAPTIONS]
    assert [one.tries for one in drawn] == [1, 1, 1]
    for (caption_id, caption), one in zip(CAPTIONS, drawn, strict=True):
        assert one.picture.pixels is not None
        assert (one.picture.pixels == noise(Request(caption, image_seed(7, caption_id, 0)))).all()


def test_seeds_differ_by_run_caption_and_try_and_fit_63_bits():
    seeds = [image_seed(run, caption, attempt) for run in (0, 1) for caption in (5, 6) for attempt in (0, 1, 2)]
    assert len(set(seeds)) == 12
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_only_what_failed_is_drawn_again_with_the_next_seed():
    asked: list[list[Request]] = []

    def draw(batch):
        asked.append(list(batch))
        bad = Picture(reject_reason="non_finite")
        return [bad if one.caption == "a dog" and len(asked) < 3 else good(one) for one in batch]

    drawn = draw_batch(draw, CAPTIONS, run_seed=0, max_tries=3)
    assert [[one.caption for one in batch] for batch in asked] == [["a cat", "a dog", "a cow"], ["a dog"], ["a dog"]]
    assert [one.seed for batch in asked[1:] for one in batch] == [image_seed(0, 2, 1), image_seed(0, 2, 2)]
    assert [one.tries for one in drawn] == [1, 3, 1]
    assert drawn[1].seed == image_seed(0, 2, 2)
    assert drawn[1].picture.pixels is not None


def test_after_the_last_try_it_is_rejected_with_the_last_reason():
    calls = Counter[str]()

    def draw(batch):
        calls.update(one.caption for one in batch)
        return [Picture(reject_reason="unsafe") if one.caption == "a cow" else good(one) for one in batch]

    drawn = draw_batch(draw, CAPTIONS, run_seed=0, max_tries=4)
    assert calls == {"a cat": 1, "a dog": 1, "a cow": 4}
    assert (drawn[2].picture.reject_reason, drawn[2].tries) == ("unsafe", 4)


def test_what_another_seed_cannot_help_is_not_tried_again():
    calls = Counter[str]()

    def draw(batch):
        calls.update(one.caption for one in batch)
        return [Picture(reject_reason="no_artwork", may_retry=False) for one in batch]

    drawn = draw_batch(draw, CAPTIONS, run_seed=0, max_tries=4)
    assert set(calls.values()) == {1}
    assert [one.picture.reject_reason for one in drawn] == ["no_artwork"] * 3


@pytest.mark.parametrize("changed", [None, (0, 0, 0), (7, 7, 1), (3, 5, 2), (4, 4, 0)])
def test_a_picture_of_one_colour_is_refused_and_one_with_a_single_other_value_is_not(changed):
    pixels = np.full((8, 8, 3), 17, dtype=np.uint8)
    if changed is not None:
        pixels[changed] = 18
    (one,) = draw_batch(lambda batch: [Picture(pixels) for _ in batch], CAPTIONS[:1], run_seed=0, max_tries=2)
    assert one.picture.reject_reason == (UNIFORM if changed is None else None)
    assert one.tries == (2 if changed is None else 1)


def test_a_renderer_that_loses_a_picture_is_an_error():
    with pytest.raises(RuntimeError, match="asked for 3 pictures and gave 2"):
        draw_batch(lambda batch: [good(one) for one in batch][:-1], CAPTIONS, run_seed=0, max_tries=2)


@pytest.mark.parametrize(
    ("picture", "told"),
    [
        (Picture(), "neither pixels nor a reject_reason"),
        (Picture(np.arange(48, dtype=np.uint8).reshape(4, 4, 3), reject_reason="unsafe"), "or has both"),
        (Picture(np.arange(16, dtype=np.uint8).reshape(4, 4)), r"shape \(4, 4\) and type uint8; wanted"),
        (Picture(np.arange(64, dtype=np.uint8).reshape(4, 4, 4)), r"shape \(4, 4, 4\)"),
        (Picture(np.arange(48, dtype=np.float32).reshape(4, 4, 3)), "type float32"),
        (Picture(np.zeros((0, 4, 3), np.uint8)), r"shape \(0, 4, 3\)"),
    ],
)
def test_what_is_no_picture_is_an_error_and_neither_an_image_nor_a_reject(picture, told):
    with pytest.raises(RuntimeError, match=told):
        draw_batch(lambda batch: [picture], CAPTIONS[:1], run_seed=0, max_tries=3)
