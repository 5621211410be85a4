"""What `submit` makes of the words of an evaluation: cells, or a message that says what is wrong. Without torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evals import catalogue
from evals.errors import EvalError
from synthclip_hpc.config import RunConfig, with_values
from synthclip_hpc.errors import UserError
from synthclip_hpc.evaluation.fitting import lines_of
from synthclip_hpc.launch.chain import lay_out
from synthclip_hpc.stages.eval.cells import remarks as told_of
from tests.evals import small_world
from tests.synthclip_hpc.app import App
from tests.synthclip_hpc.eval_worlds import bare_classification, bare_model, bare_retrieval


@pytest.fixture
def place(tmp_path: Path) -> Path:
    bare_classification(tmp_path / "plain")
    bare_classification(tmp_path / "probed", train=5)
    bare_classification(tmp_path / "poor", train=4, val=1)
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


def remarks(config: RunConfig) -> list[str]:
    return lines_of(lay_out(config, ["eval"])[-1].plan.identity["remarks"])


def test_what_is_left_out_is_told_with_the_reason(place):
    bare_classification(place / "pairwise", train=2)
    bare_classification(place / "four", train=5, classes=("a", "b", "c", "d"))
    bare_classification(place / "alone", train=5, classes=("a",))
    sets = ",".join(f"{place}/{name}" for name in ("pairs", "plain", "probed", "poor", "pairwise", "four", "alone"))
    assert remarks(config_of(place, datasets=sets, tasks="zero_shot,linear_probe,few_shot,long_tail")) == [
        "left out: zero_shot, linear_probe, few_shot, long_tail on pairs: captions and no classes",
        "left out: linear_probe, few_shot on plain: there is no split called train",
        "left out: long_tail on plain, probed, poor, pairwise, four, alone: only the data set long_tail is for this "
        "task",
        "left out: few_shot on poor, pairwise: a class has fewer than 5 images in train",
        "left out: linear_probe on pairwise: no val, and no class has 5 images in train, of which one could be held "
        "out",
        "left out: few_shot on four, alone: fewer than 5 classes",
        "left out: linear_probe on alone: only one class",
    ]
    assert remarks(config_of(place, datasets=f"{place}/probed", tasks="zero_shot,linear_probe,few_shot")) == []


def test_that_a_task_is_not_for_a_kind_of_data_is_told_only_where_nothing_is_left(place):
    def told(**keys: str) -> list[str]:
        return told_of(lay_out(config_of(place, **keys), ["eval"])[-1].plan)

    both = f"{place}/pairs,{place}/plain"
    assert told(datasets=both, tasks="zero_shot,retrieval") == []
    assert told(datasets=both, tasks="zero_shot") == ["left out: zero_shot on pairs: captions and no classes"]
    assert told(datasets=f"{place}/plain", tasks="zero_shot,retrieval") == [
        "left out: retrieval on plain: classes and no captions"
    ]


def test_a_probe_that_holds_nothing_out_needs_no_five_images_of_a_class(place):
    bare_classification(place / "pairwise", train=2)
    config = config_of(place, datasets=f"{place}/pairwise", tasks="linear_probe", probe="clip_benchmark")
    assert cells(config) == [("model", "pairwise", "linear_probe")] and remarks(config) == []


def test_a_class_without_training_images_is_not_probed(place):
    bare_classification(place / "gap", train=5)
    with_gap = [
        (f"s{n:04d}.{part}", data) for n in range(30) for part, data in (("png", b"-"), ("cls", b"%d" % (n % 5)))
    ]
    small_world.write_split(place / "gap", "train", [with_gap])
    config = config_of(place, datasets=f"{place}/gap")
    assert cells(config) == [("model", "gap", "zero_shot")]
    assert remarks(config)[0] == "left out: linear_probe on gap: a class has no image in train"


def test_the_printed_plan_names_what_is_left_out(place, tmp_path):
    app = App(tmp_path / "run")
    words = [f"eval.datasets={place}/plain", "eval.device=cpu", "eval.checkpoints=none", f"eval.model={place}/model"]
    outcome = app("submit", "stage=eval", "dry-run=true", *words)
    assert outcome.code == 0, outcome
    assert "eval/cells: left out: linear_probe, few_shot on plain: there is no split called train" in outcome.words
    refused = app("submit", "stage=eval", "dry-run=true", *words, "eval.tasks=linear_probe")
    assert refused.code == 2 and "linear_probe on plain: there is no split called train" in refused.words


@pytest.fixture
def small_catalogue(monkeypatch) -> Callable[..., None]:
    """Give a data set of the catalogue other counts."""
    find = catalogue.find

    def change(name: str, **changes: Any) -> None:
        changed = replace(find(name), **changes)
        monkeypatch.setattr(catalogue, "find", lambda asked: changed if asked == name else find(asked))

    return change


def catalogued(config: RunConfig) -> dict[str, str | None]:
    return {cell["task"]: cell["catalogue"] for cell in lay_out(config, ["eval"])[-1].plan.identity["cells"]}


def test_only_data_that_were_found_to_be_the_catalogues_are_called_so(place, small_catalogue):
    bare_classification(place / "dtd", train=5, val=1)
    small_catalogue("dtd", splits={"train": (30,), "val": (6,), "test": (12,)}, classes=6)
    by_name = config_of(place, datasets="dtd", root=str(place))
    assert catalogued(by_name) == {"zero_shot": "dtd", "linear_probe": "dtd", "few_shot": "dtd"}
    by_path = config_of(place, datasets=f"{place}/dtd")
    assert catalogued(by_path) == {"zero_shot": None, "linear_probe": None, "few_shot": None}


def test_a_built_in_set_is_none_of_the_catalogues(place):
    pytest.importorskip("cv2")
    assert set(catalogued(config_of(place, datasets="glyphs-twemoji")).values()) == {None}


def test_a_split_that_the_catalogue_has_and_the_folder_has_not_is_told(place, small_catalogue):
    bare_classification(place / "dtd", train=5)
    small_catalogue("dtd", splits={"train": (30,), "val": (6,), "test": (12,)}, classes=6)
    words = {"datasets": "dtd", "tasks": "zero_shot,linear_probe,few_shot"}
    config = config_of(place, **words, root=str(place))
    assert catalogued(config) == {"zero_shot": "dtd", "linear_probe": None, "few_shot": "dtd"}
    assert remarks(config) == [
        "not to be compared with the paper: linear_probe on dtd: the folder's splits (train, val) are others than the "
        "catalogue's"
    ]
    bare_classification(place / "tests-only" / "dtd")
    config = config_of(place, **words, root=str(place / "tests-only"))
    assert catalogued(config) == {"zero_shot": "dtd"}
    assert remarks(config) == ["left out: linear_probe, few_shot on dtd: there is no split called train"]


def test_a_part_of_train_that_is_kept_as_val_is_the_catalogues(place, small_catalogue):
    bare_classification(place / "cifar10", train=5, val=1)
    small_catalogue("cifar10", splits={"train": (36,), "test": (12,)}, classes=6)
    config = config_of(place, datasets="cifar10", root=str(place), tasks="linear_probe,few_shot")
    assert catalogued(config) == {"linear_probe": "cifar10", "few_shot": "cifar10"}


def test_a_train_split_that_the_catalogue_does_not_know_is_not_the_catalogues(place, small_catalogue):
    bare_classification(place / "imagenet1k", train=5)
    small_catalogue("imagenet1k", splits={"test": (12,)}, classes=6)
    config = config_of(place, datasets="imagenet1k", root=str(place), tasks="zero_shot,few_shot")
    assert catalogued(config) == {"zero_shot": "imagenet1k", "few_shot": None}


def test_captions_are_counted_as_well(place, small_catalogue):
    bare_retrieval(place / "flickr8k")
    small_catalogue("flickr8k", splits={"test": (3,)}, captions={"test": 6})
    config = config_of(place, datasets="flickr8k", root=str(place))
    assert catalogued(config) == {"retrieval": "flickr8k"}
    small_catalogue("flickr8k", splits={"test": (3,)}, captions={"test": 15})
    with pytest.raises(UserError, match="6 captions in test, but flickr8k has 15"):
        plans(config)


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
        ({"datasets": "my-cifar"}, "by their path, which has a / (./my-cifar)"),
        ({"model": "runs/exprot"}, "eval.model=runs/exprot: model=runs/exprot: there is no such folder"),
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
    return "class 6 ('class 6', line 7 of classnames.txt) has no image in test"


def add_empty_line(folder: Path) -> str:
    with (folder / "classnames.txt").open("a") as file:
        file.write("\n")
    return "classnames.txt: line 7 is empty"


def take_templates_away(folder: Path) -> str:
    (folder / "zeroshot_classification_templates.txt").unlink()
    return "zeroshot_classification_templates.txt is missing or empty"


def empty_templates(folder: Path) -> str:
    (folder / "zeroshot_classification_templates.txt").write_text("\n")
    return "or give other prompts: eval.templates=openai80, eval.templates=simple7 or eval.templates=FILE"


def break_templates(folder: Path) -> str:
    (folder / "zeroshot_classification_templates.txt").write_text("a {c}\na picture\n")
    return "zeroshot_classification_templates.txt: 'a picture' has no {c}"


def take_test_away(folder: Path) -> str:
    (folder / "test").rename(folder / "train")
    return "has no split called test"


@pytest.mark.parametrize(
    "harm",
    [
        break_count, break_tar, break_classes, add_class, add_empty_line, take_test_away, take_templates_away,
        empty_templates, break_templates,
    ],
)  # fmt: skip
def test_a_data_set_that_is_not_whole_is_refused_with_its_folder(place, harm):
    told = harm(place / "plain")
    with pytest.raises(UserError) as error:
        plans(config_of(place))
    assert told in str(error.value) and f"eval.datasets={place}/plain" in str(error.value)


def test_templates_of_a_folder_are_looked_at_only_where_they_are_used(place):
    (place / "probed" / "zeroshot_classification_templates.txt").unlink()
    folder = f"{place}/probed"
    assert len(cells(config_of(place, datasets=folder, templates="simple7"))) == 3
    assert len(cells(config_of(place, datasets=folder, tasks="linear_probe,few_shot"))) == 2
    with pytest.raises(UserError, match="is missing or empty"):
        plans(config_of(place, datasets=folder, tasks="zero_shot"))


def test_a_catalogued_set_with_other_counts_is_refused(place):
    bare_classification(place / "cifar10", classes=[f"c{number}" for number in range(10)])
    with pytest.raises(UserError) as error:
        plans(config_of(place, datasets="cifar10", root=str(place)))
    assert "20 images in test, but cifar10 has 10,000" in str(error.value)
    assert "remove it and make it anew: python -m evals.prepare cifar10" in str(error.value)
    sample = str(error.value).rpartition("or measure the sample as it is: eval.datasets=")[2]
    assert cells(config_of(place, datasets=sample, tasks="zero_shot")) == [("model", "cifar10", "zero_shot")]


def test_a_catalogue_that_cannot_be_read_is_told_by_its_file(place, monkeypatch):
    def broken(name: str) -> Any:
        raise EvalError(f"catalogue_data/{name}.toml: no licence")

    monkeypatch.setattr(catalogue, "find", broken)
    monkeypatch.chdir(place)
    bare_classification(place / "cifar10")  # a folder of the name does not take its place
    for word, file in (("cifar10", "cifar10"), ("robustness", "imagenetv2")):
        with pytest.raises(UserError, match=rf"eval\.datasets={word}: catalogue_data/{file}\.toml: no licence"):
            plans(config_of(place, datasets=word))


def test_two_data_sets_of_one_name_are_refused(place):
    bare_classification(place / "other" / "plain", test=3)
    with pytest.raises(UserError, match="two of them are called plain"):
        plans(config_of(place, datasets=f"{place}/plain,{place}/other/plain"))


def test_a_glyph_set_of_another_run_is_a_folder_like_any_other(place):
    pytest.importorskip("cv2")
    folder = bare_classification(place / "other-run" / "glyphs-twemoji")
    (cell,) = lay_out(config_of(place, datasets=str(folder)), ["eval"])[-1].plan.identity["cells"]
    assert (cell["dataset"], cell["images"]) == ("glyphs-twemoji", {"test": 12}) and cell["sha256"] is not None
    with pytest.raises(UserError) as error:
        plans(config_of(place, datasets=f"glyphs-twemoji,{folder}"))
    assert f"called glyphs-twemoji (the one that this run draws and {folder})" in str(error.value)


def test_a_model_that_would_be_called_as_one_of_the_runs_own_is_refused(place):
    model = bare_model(place / "backup" / "epoch-0040")
    with pytest.raises(UserError) as error:
        plans(config_of(place, model=str(model), checkpoints="last"))
    assert f"eval.model={model}: it would be called epoch-0040, as one of the run's own" in str(error.value)
    assert cells(config_of(place, model=str(model))) == [("epoch-0040", "plain", "zero_shot")]


def test_weights_that_are_being_written_are_refused(place):
    weights = place / "model/open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(UserError, match="may still be being written"):
        plans(config_of(place))
