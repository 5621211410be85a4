"""Zero-shot metrics from features, and the task from a folder and a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evals import zero_shot
from evals.class_choice import choose_classes
from evals.errors import EvalError
from evals.folder import open_folder
from evals.templates import fill, find_templates
from tests.evals import small_world

torch = pytest.importorskip("torch")


def scores(rows: list[list[float]], labels: list[int]) -> zero_shot.ZeroShot:
    """Measure with the identity for a classifier, so that an image's features are its scores."""
    features = np.array(rows, np.float32)
    return zero_shot.measure(features, np.eye(features.shape[1], dtype=np.float32), np.array(labels))


def test_accuracy_recall_and_images_of_each_class() -> None:
    found = scores([[9, 1, 2], [1, 9, 2], [9, 1, 2], [1, 2, 9]], [0, 0, 0, 2])
    assert found.acc1 == 0.75 and found.acc5 is None
    assert found.recalls == (2 / 3, None, 1.0) and found.images == (3, 0, 1)
    # As scikit-learn's balanced accuracy: a class without images does not count.
    assert found.mean_per_class_recall == pytest.approx(5 / 6)


def test_five_classes_have_an_acc5_of_one_and_six_may_not() -> None:
    assert scores([[5, 4, 3, 2, 1]], [4]).acc5 == 1.0
    assert scores([[6, 5, 4, 3, 2, 1], [6, 5, 4, 3, 2, 1]], [5, 4]).acc5 == 0.5


def test_images_in_several_blocks_are_all_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    images, rows = random.standard_normal((50, 8)).astype(np.float32), random.standard_normal((7, 8)).astype(np.float32)
    labels = random.integers(0, 7, 50)
    whole = zero_shot.measure(images, rows, labels)
    monkeypatch.setattr(zero_shot, "_BLOCK_ROWS", 7)
    assert zero_shot.measure(images, rows, labels) == whole
    best = (images / np.linalg.norm(images, axis=1, keepdims=True) @ rows.T).argmax(axis=1)
    assert whole.acc1 == np.mean(best == labels) and sum(whole.images) == 50


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    pytest.importorskip("open_clip")
    folder = tmp_path_factory.mktemp("world")
    data = small_world.write_classification(folder / "data", images=40)
    return {"data": str(data), "model": str(small_world.write_model(folder / "model"))}


def options(world: dict[str, str], **more: Any) -> zero_shot.Options:
    return zero_shot.Options(**{"workers": 0, **world, **more})


@pytest.mark.engines
def test_the_task_tells_metrics_of_every_class_and_what_they_follow_from(world: dict[str, str]) -> None:
    result = zero_shot.run(options(world))
    assert result["task"] == "zero_shot" and set(result["metrics"]) == {"acc1", "acc5", "mean_per_class_recall"}
    per_class = result["per_class"]
    assert len(per_class["recall"]) == 12 and sum(per_class["images"]) == 40 == result["data"]["images"]
    hits = sum(recall * count for recall, count in zip(per_class["recall"], per_class["images"], strict=True))
    assert hits == pytest.approx(40 * result["metrics"]["acc1"])
    assert result["templates"]["number"] == 3
    assert result == zero_shot.run(options(world))
    json.dumps(result, allow_nan=False)


@pytest.mark.engines
def test_labels_restricted_to_a_list_leave_out_the_images_of_others(world: dict[str, str], tmp_path: Path) -> None:
    chosen = tmp_path / "chosen.json"
    chosen.write_text(json.dumps(["red disc", 3, "yellow cross"]))
    result = zero_shot.run(options(world, classes=str(chosen)))
    whole = zero_shot.run(options(world))
    images = [whole["per_class"]["images"][number] for number in (0, 3, 11)]
    assert result["per_class"]["images"] == images and result["classes"]["images_left_out"] == 40 - sum(images)
    assert result["metrics"]["acc5"] is None  # three classes


@pytest.mark.engines
def test_a_class_without_images_is_a_mistake_unless_it_is_meant(world: dict[str, str], tmp_path: Path) -> None:
    data = small_world.write_classification(tmp_path / "data", images=20)
    small_world.write_texts(data, [*small_world.CLASSES, "unicorn"], small_world.TEMPLATES)
    given = {**world, "data": str(data)}
    with pytest.raises(EvalError, match=r"1 of 13 classes have no image in test: unicorn; complete the data set"):
        zero_shot.run(options(given))
    assert zero_shot.run(options(given, empty_classes=True))["classes"]["number"] == 13
    assert zero_shot.run(options(given, classes="present"))["classes"]["number"] == 12


@pytest.mark.engines
def test_equal_class_names_have_equal_rows(world: dict[str, str]) -> None:
    from evals.features import Extraction
    from evals.model import open_model

    model = open_model(world["model"])
    names = [*(f"thing {number}" for number in range(30)), "crane", "maillot", "crane"]
    rows = zero_shot.classifier(model, names, small_world.TEMPLATES, Extraction(batch_size=16))
    assert rows.shape == (33, 32) and np.array_equal(rows[30], rows[32]) and not np.array_equal(rows[30], rows[31])
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(33), abs=1e-6)


@pytest.mark.engines
def test_the_classifier_is_the_mean_of_normalised_prompts(world: dict[str, str]) -> None:
    from evals.features import Extraction
    from evals.model import open_model

    model = open_model(world["model"])
    with torch.no_grad():
        each = model.module.encode_text(model.tokenize([fill(line, "red disc") for line in small_world.TEMPLATES]))
    mean = (each / each.norm(dim=1, keepdim=True)).mean(dim=0)
    rows = zero_shot.classifier(model, ["blue cross", "red disc"], small_world.TEMPLATES, Extraction())
    assert rows[1] == pytest.approx((mean / mean.norm()).numpy(), abs=1e-6)


def test_named_templates_are_the_seven_and_the_eighty(tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    folder = open_folder(small_world.write_classification(tmp_path, images=12))
    seven, eighty = (find_templates(name, folder) for name in ("simple7", "openai80"))
    assert len(seven) == 7 and len(set(eighty)) == 80 and set(seven) < set(eighty)
    assert seven[0] == "itap of a {c}." and "a {c} in a video game." in seven
    assert find_templates("folder", folder) == small_world.TEMPLATES


def test_templates_of_a_file_may_have_either_mark_and_need_one(tmp_path: Path) -> None:
    folder = open_folder(small_world.write_classification(tmp_path / "data", images=12))
    path = tmp_path / "prompts.txt"
    path.write_text("a {} here\n\na {c}\n")
    assert [fill(line, "cat") for line in find_templates(str(path), folder)] == ["a cat here", "a cat"]
    path.write_text("a picture\n")
    with pytest.raises(EvalError, match=r"'a picture' has no {c}"):
        find_templates(str(path), folder)
    with pytest.raises(EvalError, match=r"templates=openai8 \(did you mean 'openai80'\?\)"):
        find_templates("openai8", folder)
    (folder.path / "zeroshot_classification_templates.txt").unlink()
    with pytest.raises(
        EvalError, match=r"templates=folder: .*templates\.txt is missing or empty; .*or give templates=openai80"
    ):
        find_templates("folder", open_folder(folder.path))


def test_a_list_of_classes_is_checked(tmp_path: Path) -> None:
    data = small_world.write_classification(tmp_path / "data", images=12)
    small_world.write_texts(data, [*small_world.CLASSES[:11], "red disc", "unicorn"], ["{c}"])
    folder = open_folder(data)
    split = folder.split("test")
    path = tmp_path / "some.txt"
    for content, message in [
        ("red disk\n", r"'red disk' \(did you mean 'red disc'\?\) is no class"),
        ("red disc\n", r"2 classes are called 'red disc'; give their numbers: \[0, 11\]"),
        ("13\n", "'13'.* is no class"),
        ("unicorn\n", "no image of test is of these 1 classes"),
        ("\n", "an empty list"),
    ]:
        path.write_text(content)
        with pytest.raises(EvalError, match=message):
            choose_classes(str(path), folder, split)
    path.write_text("11\nblue disc\n0\n")
    assert choose_classes(str(path), folder, split) == [0, 6, 11]


def test_numbers_in_json_are_numbers_also_where_a_class_is_called_so(tmp_path: Path) -> None:
    data = small_world.write_classification(tmp_path, images=24)
    small_world.write_texts(data, ["3", "1", *small_world.CLASSES[2:]], ["{c}"])
    folder = open_folder(data)
    split = folder.split("test")
    chosen = tmp_path / "some.json"
    for content, expected in [("[3, 1]", [1, 3]), ('["3", 1]', [0, 1]), ('["4"]', [4])]:
        chosen.write_text(content)
        assert choose_classes(str(chosen), folder, split) == expected
    lines = tmp_path / "some.txt"
    lines.write_text("3\n")
    assert choose_classes(str(lines), folder, split) == [0]
    for content in ("[12]", "[-1]"):
        chosen.write_text(content)
        with pytest.raises(EvalError, match=r"is no class; valid are names of classnames\.txt and 0 to 11"):
            choose_classes(str(chosen), folder, split)


def test_lists_and_templates_that_are_no_utf_8_are_told(tmp_path: Path) -> None:
    folder = open_folder(small_world.write_classification(tmp_path / "data", images=12))
    path = tmp_path / "latin.txt"
    path.write_bytes("une fleur séchée {c}\n".encode("latin-1"))
    with pytest.raises(EvalError, match=r"templates=.*latin\.txt: no UTF-8 text .* save it as UTF-8"):
        find_templates(str(path), folder)
    with pytest.raises(EvalError, match=r"classes=.*latin\.txt: no UTF-8 text"):
        choose_classes(str(path), folder, folder.split("test"))
