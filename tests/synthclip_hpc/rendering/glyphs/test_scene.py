"""What captions and seeds ask of a picture, before a pixel is drawn."""

from __future__ import annotations

import pytest

from synthclip_hpc.rendering.glyphs.dice import Dice
from synthclip_hpc.rendering.glyphs.recipe import NUM_REDRAWS
from synthclip_hpc.rendering.glyphs.scene import Scene, plan_scene
from synthclip_hpc.rendering.glyphs.wording import BACKGROUNDS, Wording, read_wording

NUM_SEEDS = 2000


def scenes(count: int, wording: Wording | None = None, redrawn: float = 0.5) -> list[Scene]:
    concepts = ["fox", "owl", "bat"][:count]
    return [plan_scene(seed, concepts, wording or Wording(), redrawn) for seed in range(NUM_SEEDS)]


@pytest.mark.parametrize(
    ("caption", "wording"),
    [
        ("cupcake on red", Wording(background="red")),
        ("Cupcake ON a plain Blue background.", Wording(background="blue")),
        ("a cupcake against a grey wall", Wording(background="gray")),
        ("a cupcake, yellow background", Wording(background="yellow")),
        ("a red bucket", Wording()),
        ("a fox on redwood", Wording()),
        ("a black and white photo of a fox.", Wording(effect="gray")),
        ("a dark photo of the fox.", Wording(effect="dark")),
        ("a bright photo of the fox.", Wording(effect="bright")),
        ("a blurry photo of a fox.", Wording(effect="blurry")),
        ("a low resolution photo of a fox.", Wording(effect="pixelated")),
        ("a dark chocolate bar", Wording()),
        ("a close-up photo of a fox.", Wording(scale="large")),
        ("a photo of the large fox.", Wording(scale="large")),
        ("a photo of a small fox.", Wording(scale="small")),
        ("a photo of many fox.", Wording(many=True)),
    ],
)
def test_words_that_say_how_the_picture_looks(caption: str, wording: Wording) -> None:
    assert read_wording(caption) == wording


def test_one_drawing_takes_60_to_95_percent_of_the_width_and_stays_inside() -> None:
    alone = [scene.placements[0] for scene in scenes(1)]
    assert all(0.6 <= one.scale < 0.95 for one in alone)
    assert min(one.scale for one in alone) < 0.61 and max(one.scale for one in alone) > 0.94
    assert all(one.scale / 2 <= one.x <= 1 - one.scale / 2 for one in alone)
    assert all(one.scale / 2 <= one.y <= 1 - one.scale / 2 for one in alone)
    assert all(-15 <= one.degrees < 15 for one in alone)
    assert 900 < sum(one.flipped for one in alone) < 1100


@pytest.mark.parametrize("count", [2, 3])
def test_several_drawings_share_little_room(count: int) -> None:
    shares = []
    for scene in scenes(count):
        assert [one.concept for one in scene.placements] == ["fox", "owl", "bat"][:count]
        for place, one in enumerate(scene.placements):
            for other in scene.placements[:place]:
                wide, high = (
                    max(0.0, (one.scale + other.scale) / 2 - abs(a - b))
                    for a, b in ((one.x, other.x), (one.y, other.y))
                )
                shares.append(wide * high / min(one.scale, other.scale) ** 2)
    assert max(shares) < 0.35
    assert sum(shares) / len(shares) < 0.06


def test_sizes_follow_the_words() -> None:
    small = [scene.placements[0].scale for scene in scenes(1, Wording(scale="small"))]
    large = [scene.placements[0].scale for scene in scenes(1, Wording(scale="large"))]
    assert max(small) < 0.6 < 0.82 <= min(large)
    assert {len(scene.placements) for scene in scenes(1, Wording(many=True))} == {3}


def test_a_quarter_of_the_backgrounds_are_gradients_and_all_colours_come() -> None:
    found = scenes(1)
    gradients = [scene for scene in found if scene.start != scene.end]
    assert 0.2 * NUM_SEEDS < len(gradients) < 0.3 * NUM_SEEDS
    near = [
        min(BACKGROUNDS, key=lambda name: sum(abs(a - b) for a, b in zip(BACKGROUNDS[name], scene.start, strict=True)))
        for scene in found
    ]
    assert {name: near.count(name) > NUM_SEEDS / 11 / 2 for name in BACKGROUNDS} == dict.fromkeys(BACKGROUNDS, True)


@pytest.mark.parametrize("word", BACKGROUNDS)
def test_a_named_background_is_near_its_colour(word: str) -> None:
    for scene in scenes(1, Wording(background=word))[:200]:
        assert max(abs(a - b) for a, b in zip(scene.start, BACKGROUNDS[word], strict=True)) <= 12


def test_the_share_of_redrawn_drawings_is_what_was_asked_for() -> None:
    for redrawn, low, high in ((0.0, 0, 0), (0.5, 900, 1100), (1.0, NUM_SEEDS, NUM_SEEDS)):
        placements = [scene.placements[0] for scene in scenes(1, redrawn=redrawn)]
        changed = [one for one in placements if one.variant]
        assert low <= len(changed) <= high
        assert {one.variant for one in changed} == (set(range(1, NUM_REDRAWS + 1)) if redrawn else set())
        reshaped = [one for one in placements if (one.shear, one.stretch) != (0.0, 1.0)]
        assert all(one.variant for one in reshaped)
        assert 0.45 * len(changed) <= len(reshaped) <= 0.55 * len(changed)


def test_dice_are_the_raw_numbers_of_philox() -> None:
    """Known answers: another generator, or another use of it, would change every data set."""
    dice = Dice(7)
    assert [round(dice.share(), 6) for _ in range(3)] == [0.872073, 0.295365, 0.420098]
    assert len({dice.share() for _ in range(500)}) == 500  # beyond the first block
    assert Dice(2**63 - 1).share() != Dice(2**63 - 2).share()
