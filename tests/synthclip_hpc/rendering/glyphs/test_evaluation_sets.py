"""Test sets of emoji: read as any other data set, the right counts, the same bytes again, no picture of training."""

from __future__ import annotations

import json

import numpy as np
import pytest

from evals.folder import open_folder
from sharding.tar_scan import scan
from synthclip_hpc.config.eval import GLYPH_SETS as CONFIGURED
from synthclip_hpc.errors import UserError
from synthclip_hpc.rendering.drawing import image_seed
from synthclip_hpc.rendering.glyphs.evaluation_scenes import ON_COLOUR, PAIRED, described
from synthclip_hpc.rendering.glyphs.evaluation_sets import GLYPH_SETS, TEMPLATES, scene_seed, write_glyph_set
from synthclip_hpc.rendering.glyphs.named import NamedDrawings, read_demo_classes, read_emoji
from synthclip_hpc.rendering.glyphs.wording import BACKGROUNDS, read_wording

SIZE = 32


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Both kinds of set in Twemoji's style, with two pictures a class: {name: (folder, what was told)}."""
    folder = tmp_path_factory.mktemp("sets")
    return {
        name: (folder / name, write_glyph_set(folder / name, name, seed=3, images_per_class=2, size=SIZE))
        for name in ("glyphs-twemoji", "glyphs-twemoji-retrieval")
    }


def pictures(folder):
    data = (folder / "test/0.tar").read_bytes()
    return [data[one.offset : one.offset + one.size] for one in scan(data, folder) if one.name.endswith(".jpg")]


def test_the_sets_are_those_of_the_configuration():
    assert tuple(GLYPH_SETS) == CONFIGURED


def test_a_classification_set_is_read_as_any_other(written):
    folder, told = written["glyphs-twemoji"]
    opened = open_folder(folder)
    assert not opened.retrieval
    assert list(opened.classnames) == read_demo_classes()
    assert opened.templates == TEMPLATES
    for name in ("train", "test"):
        split = opened.split(name)
        opened.check_labels(split)
        assert split.labels.tolist() == [label for label in range(100) for _ in range(2)]
        assert told["splits"][name] == {"images": 200, "captions": 0}


def test_a_retrieval_set_is_read_as_any_other(written):
    folder, told = written["glyphs-twemoji-retrieval"]
    opened = open_folder(folder)
    assert opened.retrieval
    assert not opened.has("train")
    captions = opened.split("test").captions
    assert len(captions) == 100
    assert {len(one) for one in captions} == {5}
    assert told["splits"] == {"test": {"images": 100, "captions": 500}}


def test_pictures_have_the_size_and_differ(written):
    from PIL import Image

    for folder, _ in written.values():
        found = pictures(folder)
        assert len(set(found)) == len(found)
        with Image.open(folder_file(folder, found[0])) as image:
            assert (image.format, image.size, image.mode) == ("JPEG", (SIZE, SIZE), "RGB")


def folder_file(folder, content):
    path = folder.with_suffix(".jpg")
    path.write_bytes(content)
    return path


def test_what_is_told_is_json_and_true_of_the_files(written):
    import hashlib

    for folder, told in written.values():
        assert json.loads(json.dumps(told)) == told
        there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        assert there == set(told["files"])
        for path, facts in told["files"].items():
            content = (folder / path).read_bytes()
            assert facts == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_the_readme_names_artwork_and_licence(written):
    for folder, told in written.values():
        text = (folder / "README.md").read_text()
        assert told["artwork"] in text
        assert "CC BY 4.0" in text
        assert "https://creativecommons.org/licenses/by/4.0/" in text


def test_the_same_words_give_the_same_bytes_and_another_seed_other_pictures(tmp_path, written):
    folder, told = written["glyphs-twemoji"]
    again = write_glyph_set(tmp_path / "again", "glyphs-twemoji", seed=3, images_per_class=2, size=SIZE)
    assert again == told
    assert (tmp_path / "again/test/0.tar").read_bytes() == (folder / "test/0.tar").read_bytes()
    write_glyph_set(tmp_path / "other", "glyphs-twemoji", seed=4, images_per_class=2, size=SIZE)
    assert not set(pictures(folder)) & set(pictures(tmp_path / "other"))


def test_the_styles_differ_in_drawings_and_scenes(tmp_path, written):
    told = write_glyph_set(tmp_path / "open", "glyphs-openmoji", seed=3, images_per_class=1, size=SIZE)
    assert told["licence"] == "CC-BY-SA-4.0"
    assert "CC BY-SA 4.0" in (tmp_path / "open/README.md").read_text()
    assert not set(pictures(tmp_path / "open")) & set(pictures(written["glyphs-twemoji"][0]))


def test_more_pictures_a_class_only_add(tmp_path, written):
    folder, _ = written["glyphs-twemoji"]
    write_glyph_set(tmp_path / "three", "glyphs-twemoji", seed=3, images_per_class=3, size=SIZE)
    assert set(pictures(folder)) < set(pictures(tmp_path / "three"))


def test_no_seed_is_one_of_a_data_sets_images():
    seeds = {
        scene_seed(seed, name, split, concept, number)
        for seed in range(2)
        for name in GLYPH_SETS
        for split in ("train", "test")
        for concept in ("goat", "pizza")
        for number in range(10)
    }
    assert len(seeds) == 2 * 4 * 2 * 2 * 10
    assert min(seeds) >= 1 << 63
    assert max(image_seed(1, caption, attempt) for caption in range(500) for attempt in range(3)) < 1 << 63


def test_no_drawing_is_redrawn_and_captions_say_what_is_there():
    classes = read_demo_classes()
    named = NamedDrawings(list(read_emoji()), "exact")
    captions = set()
    for label in (0, 17, 99):
        for number in range(22):
            scene = described(1000 * label + number, label, number, classes, label)
            concepts = [one.concept for one in scene.scene.placements]
            assert {one.variant for one in scene.scene.placements} == {0}
            assert concepts[0] == classes[label]
            assert len(concepts) == 1 + number % 2
            assert len(scene.captions) == len(PAIRED if number % 2 else ON_COLOUR) == 5
            for caption in scene.captions:
                assert sorted(named.find([caption])[0]) == sorted(concepts)
            captions |= set(scene.captions)
            if number % 2 == 0:
                colour = {read_wording(caption).background for caption in scene.captions}
                assert len(colour) == 1
                assert colour < set(BACKGROUNDS)
    assert len(captions) == 3 * 22 * 5


def test_a_scene_differs_from_another_in_more_than_its_seed():
    classes = read_demo_classes()
    first, second = (described(seed, 1, 0, classes, 5) for seed in (1, 2))
    assert first.captions == second.captions
    assert not np.isclose(first.scene.placements[0].degrees, second.scene.placements[0].degrees)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"name": "glyphs-twemojy"}, "eval.datasets=glyphs-twemojy"),
        ({"images_per_class": 0}, "eval.glyph_images=0"),
        ({"size": 7}, "size=7"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(tmp_path, words, told):
    given = {"name": "glyphs-twemoji", "seed": 0, "images_per_class": 1, "size": SIZE} | words
    with pytest.raises(UserError, match=told):
        write_glyph_set(tmp_path / "set", **given)
    assert not (tmp_path / "set").exists()
