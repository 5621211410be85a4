"""What `submit` makes of the words of an evaluation: cells, or a message that says what is wrong. Without torch."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthclip_hpc.config import RunConfig, with_values
from synthclip_hpc.errors import UserError
from synthclip_hpc.launch.chain import lay_out
from tests.synthclip_hpc.eval_worlds import bare_classification, bare_model, bare_retrieval


@pytest.fixture
def place(tmp_path: Path) -> Path:
    bare_classification(tmp_path / "plain")
    bare_classification(tmp_path / "probed", train=5)
    bare_classification(tmp_path / "poor", train=4)
    bare_retrieval(tmp_path / "pairs")
    bare_model(tmp_path / "model")
    return tmp_path


def config_of(place: Path, **changes: object) -> RunConfig:
    values: dict[str, object] = {
        "eval.datasets": f"{place}/plain",
        "eval.device": "cpu",
        "eval.checkpoints": "none",
        "eval.model": f"{place}/model",
    }
    return with_values(RunConfig(), values | {f"eval.{key}": value for key, value in changes.items()})


def plans(config: RunConfig) -> dict[str, object]:
    return {link.phase.name: link.plan for link in lay_out(config, ["eval"])}


def cells(config: RunConfig) -> list[tuple[str, str, str]]:
    plan = lay_out(config, ["eval"])[-1].plan
    assert plan.phase == "cells" and plan.num_shards == len(plan.identity["cells"])
    return [(cell["model"], cell["dataset"], cell["task"]) for cell in plan.identity["cells"]]


def test_each_task_is_run_on_the_data_sets_that_it_fits_in_the_order_of_models_sets_and_tasks(place):
    sets = ",".join(f"{place}/{name}" for name in ("pairs", "plain", "probed", "poor"))
    found = cells(config_of(place, datasets=sets, checkpoints="every:2"))
    one_model = [
        ("pairs", "retrieval"),
        ("plain", "zero_shot"),
        ("probed", "zero_shot"),
        ("probed", "linear_probe"),
        ("probed", "few_shot"),
        ("poor", "zero_shot"),
        ("poor", "linear_probe"),  # four images a class are too few for five shots
    ]
    models = [*(f"epoch-{epoch:04d}" for epoch in range(2, 41, 2)), "model"]
    assert found == [(model, *part) for model in models for part in one_model]


def test_glyph_sets_are_drawn_by_the_run_and_bound_as_an_input(place):
    pytest.importorskip("cv2")
    config = config_of(place, datasets="glyphs-openmoji-retrieval,glyphs-twemoji")
    sets, models, found = (link.plan for link in lay_out(config, ["eval"]))
    assert (sets.num_shards, sets.num_items, models.num_shards) == (1, 2, 0)
    assert list(sets.identity["sets"]) == ["glyphs-openmoji-retrieval", "glyphs-twemoji"]
    assert [(cell["dataset"], cell["task"], cell["sha256"]) for cell in found.identity["cells"]] == [
        ("glyphs-openmoji-retrieval", "retrieval", None),
        ("glyphs-twemoji", "zero_shot", None),
        ("glyphs-twemoji", "linear_probe", None),
        ("glyphs-twemoji", "few_shot", None),
    ]


def test_a_glyph_set_with_few_images_is_not_probed(place):
    pytest.importorskip("cv2")
    few = config_of(place, datasets="glyphs-twemoji", glyph_images=4)
    assert cells(few) == [("model", "glyphs-twemoji", "zero_shot")]
    with pytest.raises(UserError, match="none of these tasks fits"):
        plans(config_of(place, datasets="glyphs-twemoji", glyph_images=4, tasks="few_shot"))


def test_earlier_epochs_are_taken_out_of_their_checkpoints_and_the_last_is_exported_already(place):
    def epochs(checkpoints: str) -> list[int]:
        plan = lay_out(config_of(place, checkpoints=checkpoints), ["eval"])[1].plan
        assert plan.num_shards == len(plan.identity["epochs"])
        return list(plan.identity["epochs"])

    assert epochs("last") == epochs("none") == epochs("every:40") == epochs("every:99") == []
    assert epochs("every:15") == [15, 30]
    assert epochs("all") == list(range(1, 40))


def test_what_decides_the_numbers_is_in_the_plan_and_nothing_else(place):
    def identity(**changes: object) -> object:
        return lay_out(config_of(place, datasets=f"{place}/probed", **changes), ["eval"])[-1].plan.hash

    (place / "prompts.txt").write_text("a sketch of {c}\n")
    changes: list[dict[str, object]] = [
        {"tasks": "zero_shot"},
        {"templates": "simple7"},
        {"templates": str(place / "prompts.txt")},
        {"probe": "sklearn"},
        {"episodes": 7},
        {"device": "cuda"},
        {"precision": "amp_bf16"},
        {"threads": 2},
        {"batch_items": 32},
        {"checkpoints": "last"},
    ]
    hashes = [identity(), *(identity(**change) for change in changes)]
    assert len(set(hashes)) == len(hashes) == 11
    assert identity(loader_workers=0, reuse="somewhere", root="/nowhere") == identity()


def test_data_and_model_count_by_their_content_wherever_they_lie(place):
    def identity() -> object:
        return lay_out(config_of(place), ["eval"])[-1].plan.hash

    before = identity()
    bare_classification(place / "elsewhere" / "plain")
    bare_model(place / "elsewhere" / "model")
    moved = config_of(place, datasets=f"{place}/elsewhere/plain", model=f"{place}/elsewhere/model")
    assert lay_out(moved, ["eval"])[-1].plan.hash == before
    bare_classification(place / "plain", test=3)
    assert identity() != before
    bare_classification(place / "plain", test=2)
    assert identity() == before
    (place / "model/open_clip_model.safetensors").unlink()
    (place / "model/open_clip_config.json").unlink()
    (place / "model").rmdir()
    bare_model(place / "model", weights=bytes(63) + b"x")
    assert identity() != before


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"datasets": "cifer10"}, "eval.datasets=cifer10: no such data set (did you mean 'cifar10'?)"),
        ({"datasets": "glyphs-twemojis"}, "(did you mean 'glyphs-twemoji'?)"),
        ({"datasets": " , "}, "eval.datasets is empty"),
        ({"datasets": "/nowhere/set"}, "eval.datasets=/nowhere/set: there is no such folder"),
        ({"datasets": "cifar10", "root": "/nowhere"}, "python -m evals.prepare cifar10 root=/nowhere"),
        ({"datasets": "cifar10"}, "eval.root=DIR, or set SYNTHCLIP_EVAL_DATA"),
        ({"datasets": "paper", "root": "/nowhere"}, "eval.datasets=paper: there is no cifar10 in /nowhere"),
        ({"tasks": "zeroshot"}, "eval.tasks=zeroshot: no such task (did you mean 'zero_shot'?)"),
        ({"tasks": "retrieval"}, "eval.tasks=retrieval: none of these tasks fits any of eval.datasets="),
        ({"tasks": ""}, "eval.tasks is empty"),
        ({"checkpoints": "every"}, "eval.checkpoints=every: not known (did you mean 'every:5'?)"),
        ({"checkpoints": "every:0"}, "eval.checkpoints=every:0"),
        ({"checkpoints": "none", "model": None}, "eval.checkpoints=none: then there is no model"),
        ({"pretrained": "openai", "model": None}, "eval.pretrained=openai: weights of which model?"),
        ({"model": "/nowhere/model.json"}, "eval.model=/nowhere/model.json"),
        ({"templates": "simple"}, "eval.templates=simple (did you mean 'simple7'?): no such file"),
        ({"probe": "logistic"}, "eval.probe=logistic"),
        ({"device": "gpu"}, "eval.device=gpu"),
        ({"precision": "fp16"}, "eval.precision=fp16"),
        ({"threads": 0}, "eval.threads=0: wanted a whole number from 1"),
        ({"batch_items": 0}, "eval.batch_items=0"),
        ({"episodes": 0}, "eval.episodes=0"),
        ({"glyph_images": 0}, "eval.glyph_images=0"),
        ({"loader_workers": -1}, "eval.loader_workers=-1: wanted a whole number from 0"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_what_is_valid(place, monkeypatch, changes, told):
    monkeypatch.delenv("SYNTHCLIP_EVAL_DATA", raising=False)
    with pytest.raises(UserError) as error:
        plans(config_of(place, **changes))
    assert told in str(error.value)


def break_count(folder: Path) -> str:
    (folder / "test/nshards.txt").write_text("2\n")
    return "1 of 2 shards are missing: 1.tar"


def break_tar(folder: Path) -> str:
    tar = folder / "test/0.tar"
    tar.write_bytes(tar.read_bytes()[:1000])
    return str(tar)


def break_classes(folder: Path) -> str:
    (folder / "classnames.txt").write_text("class 0\nclass 1\n")
    return "but classnames.txt has 2 names"


def add_class(folder: Path) -> str:
    with (folder / "classnames.txt").open("a") as file:
        file.write("class 6\n")
    return "a class of its classnames.txt has no image in test"


def take_test_away(folder: Path) -> str:
    (folder / "test").rename(folder / "train")
    return "has no split called test"


@pytest.mark.parametrize("harm", [break_count, break_tar, break_classes, add_class, take_test_away])
def test_a_data_set_that_is_not_whole_is_refused_with_its_folder(place, harm):
    told = harm(place / "plain")
    with pytest.raises(UserError) as error:
        plans(config_of(place))
    assert told in str(error.value) and f"eval.datasets={place}/plain" in str(error.value)


def test_a_catalogued_set_with_other_counts_is_refused(place):
    bare_classification(place / "cifar10", classes=[f"c{number}" for number in range(10)])
    with pytest.raises(UserError) as error:
        plans(config_of(place, datasets="cifar10", root=str(place)))
    assert "20 images in test, but cifar10 has 10,000" in str(error.value)
    assert "python -m evals.prepare cifar10" in str(error.value)


def test_two_data_sets_of_one_name_are_refused(place):
    bare_classification(place / "other" / "plain", test=3)
    with pytest.raises(UserError, match="two of them are called plain"):
        plans(config_of(place, datasets=f"{place}/plain,{place}/other/plain"))


def test_weights_that_are_being_written_are_refused(place):
    weights = place / "model/open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(UserError, match="may still be being written"):
        plans(config_of(place))
