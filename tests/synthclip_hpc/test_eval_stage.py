"""The stage `eval` as a user meets it: what it measures, what it keeps, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")

from evals import few_shot, linear_probe, retrieval, zero_shot  # noqa: E402
from evals.extract import Options as ExtractOptions  # noqa: E402
from evals.extract import run as extract  # noqa: E402
from sharding.journal import read_events  # noqa: E402
from sharding.plan import load_plan  # noqa: E402
from synthclip_hpc.evaluation.results import read_cells  # noqa: E402
from synthclip_hpc.sealing import last_errors  # noqa: E402
from tests.synthclip_hpc.app import App, same_set, spawn, tree  # noqa: E402
from tests.synthclip_hpc.eval_worlds import evaluate, world  # noqa: E402

pytestmark = [pytest.mark.engines, pytest.mark.timeout(300)]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    torch.set_num_threads(1)
    return world(tmp_path / "world")


def cell_events(app: App) -> list[dict]:
    paths = sorted((app.path / "eval/cells/journals").glob("*.jsonl"))
    return [event for path in paths for event in read_events(path)[0] if event["event"] == "cell"]


def test_the_cells_are_what_evals_measures_by_itself(app, at_once, place, tmp_path):
    outcome = evaluate(app, place)
    assert outcome.code == 0, outcome
    cells = {(cell.dataset, cell.task): cell for cell in read_cells(app.run)}
    assert list(cells) == [
        ("shapes", "zero_shot"),
        ("shapes", "linear_probe"),
        ("shapes", "few_shot"),
        ("pairs", "retrieval"),
    ]
    shared: dict[str, Any] = {"model": str(place / "model"), "device": "cpu", "workers": 0}
    npz = str(tmp_path / "features.npz")
    extract(ExtractOptions(data=str(place / "shapes"), npz=npz, **shared))
    alone = {
        ("shapes", "zero_shot"): zero_shot.run(zero_shot.Options(data=str(place / "shapes"), **shared)),
        ("shapes", "linear_probe"): linear_probe.run(linear_probe.Options(features=npz, device="cpu")),
        ("shapes", "few_shot"): few_shot.run(few_shot.Options(features=npz, episodes=20)),
        ("pairs", "retrieval"): retrieval.run(retrieval.Options(data=str(place / "pairs"), **shared)),
    }
    assert {key: cell.metrics for key, cell in cells.items()} == {key: told["metrics"] for key, told in alone.items()}
    for key, cell in cells.items():
        assert cell.record["protocol"] == alone[key]["protocol"]
        assert (cell.model, cell.epoch, cell.record["model"]["source"]) == ("model", None, "outside")
    zero = cells["shapes", "zero_shot"].record
    assert zero["model"]["sha256"] == alone["shapes", "zero_shot"]["model"]["sha256"]
    assert {cell.record["dataset"]["catalogue"] for cell in cells.values()} == {None}
    assert {cell.record["batch_size_used"] for cell in cells.values()} == {64}
    assert {*zero["versions"]} == {"torch", "open_clip", "numpy", "torchvision", "pillow"}
    assert zero["dataset"]["images"] == 48 and zero["dataset"]["splits"] == {"test": 48}
    assert cells["shapes", "few_shot"].record["dataset"]["splits"] == {"train": 72, "test": 48}
    assert str(tmp_path) not in "".join(json.dumps(cell.record) for cell in cells.values())
    figure = f"zero-shot top-1 {100 * zero['metrics']['acc1']:.1f} % (chance 8.3 %)"
    assert figure in outcome.words and "(chance 16.7 %)" in outcome.words, outcome
    assert "left out" not in outcome.words  # captions are for retrieval and classes for the others, as all expect
    assert app.status()["stages"]["eval"]["state"] == "done"
    assert app("verify").code == 0


def test_data_that_changed_after_an_evaluation_leave_it_as_it_is(app, at_once, place):
    assert evaluate(app, place, "eval.tasks=zero_shot", f"eval.datasets={place}/shapes").code == 0
    (place / "shapes" / "zeroshot_classification_templates.txt").write_text("another {c}\n")
    assert app("submit", "stage=report").code == 0  # builds on what was measured
    again = app("submit", "stage=eval")
    assert again.code == 2 and "cells[0].sha256: recorded" in again.words and "Traceback" not in again.words, again
    other = app("submit", "stage=eval", "eval.tasks=few_shot")
    assert other.code == 2 and "eval.tasks: the run has 'zero_shot', asked 'few_shot'" in other.words
    assert f"eval.checkpoints=none eval.model={app.path}/train/export" in other.words


def test_runs_of_any_seed_are_measured_on_the_same_glyph_sets(app, at_once, place):
    pytest.importorskip("cv2")
    glyphs = ("eval.datasets=glyphs-twemoji-retrieval", "eval.glyph_images=1", "eval.tasks=retrieval", "render.size=64")
    outcome = evaluate(app, place, *glyphs, "seed=3")
    assert outcome.code == 0, outcome
    plan = load_plan(app.run.phase("eval", "sets"))
    assert plan is not None and "seed" not in plan.identity and plan.identity["sets_seed"] == 0
    assert [cell.task for cell in read_cells(app.run)] == ["retrieval"]


def test_a_model_is_opened_once_and_its_features_are_made_once(app, at_once, place, monkeypatch):
    opened: list[str] = []
    from evals.model import open_model

    def counting(*words: Any):
        opened.append(words[0])
        return open_model(*words)

    monkeypatch.setattr("evals.settings.open_model", counting)
    assert evaluate(app, place).code == 0
    assert opened == [str(place / "model")]
    records = [json.loads(path.read_bytes()) for path in (app.path / "eval/features").glob("*/record.json")]
    kinds = [(one["identity"]["kind"], one["identity"].get("split"), one["identity"].get("layer")) for one in records]
    assert sorted(kinds, key=str) == sorted(
        [
            ("images", "test", "post"),
            ("images", "test", "pre"),
            ("images", "train", "pre"),
            ("texts", None, None),
            ("images", "test", "post"),
            ("texts", None, None),
        ],
        key=str,
    )


def test_what_killed_attempts_left_among_the_features_goes_with_the_seal(app, at_once, place):
    assert evaluate(app, place, "eval.tasks=retrieval").code == 0
    (app.path / "eval/cells/seal.json").unlink()
    left = app.path / "eval/features/.making-abc"
    left.mkdir()
    (left / "features.npy").write_bytes(b"half")
    assert app("resume", "wait=true").code == 0
    assert not left.exists() and any((app.path / "eval/features").iterdir())


def test_equal_cells_of_another_run_are_taken_over_and_others_made(app, at_once, place, tmp_path):
    assert evaluate(app, place).code == 0
    moved = tmp_path / "moved"
    shutil.copytree(place, moved)
    again = App(tmp_path / "again")
    outcome = evaluate(again, moved, f"eval.reuse={app.path}", "eval.episodes=21")
    assert outcome.code == 0, outcome
    taken = {event["cell"]: event["taken_from"] for event in cell_events(again)}
    assert taken == {
        "model, shapes, zero_shot": str(app.path),
        "model, shapes, linear_probe": str(app.path),
        "model, shapes, few_shot": None,
        "model, pairs, retrieval": str(app.path),
    }
    names = ["eval/cells/data/000/00000.json", "eval/cells/data/000/00001.json", "eval/cells/data/000/00003.json"]
    for name in names:
        assert (again.path / name).read_bytes() == (app.path / name).read_bytes()
    assert read_cells(again.run)[2].record["episodes"] == 21


def test_cells_of_another_preprocessing_or_other_versions_are_not_taken_over(
    app, at_once, place, tmp_path, monkeypatch
):
    words = (f"eval.datasets={place / 'shapes'}", "eval.tasks=zero_shot")
    assert evaluate(app, place, *words).code == 0

    def taken(name: str) -> bool:
        again = App(tmp_path / name)
        assert evaluate(again, place, *words, f"eval.reuse={app.path}").code == 0
        (event,) = cell_events(again)
        return event["taken_from"] is not None

    assert taken("equal")
    config = place / "model/open_clip_config.json"
    before = config.read_text()
    content = json.loads(before)
    content["preprocess_cfg"] = {**content.get("preprocess_cfg", {}), "mean": [0.1, 0.2, 0.3]}
    config.write_text(json.dumps(content))
    assert not taken("other-mean")
    ours, theirs = (read_cells(run.run)[0].record for run in (App(tmp_path / "other-mean"), app))
    assert ours["model"]["sha256"] == theirs["model"]["sha256"] and ours["preprocess"]["mean"] == [0.1, 0.2, 0.3]
    config.write_text(before)
    monkeypatch.setattr("evals.features.image_versions", lambda: {"torchvision": "0", "pillow": "0"})
    assert not taken("other-versions")


def test_another_tokenizer_is_another_cell(app, at_once, place):
    from synthclip_hpc.evaluation.reusing import Reuse

    assert evaluate(app, place, f"eval.datasets={place / 'pairs'}").code == 0
    (cell,) = read_cells(app.run)
    head = {key: cell.record[key] for key in ("model", "preprocess", "dataset", "task", "parameters", "versions")}
    reuse = Reuse(str(app.path))
    renamed = {**head, "dataset": head["dataset"] | {"name": "flickr8k", "catalogue": "flickr8k"}}
    taken = reuse.take(renamed)
    assert taken is not None and taken[1]["dataset"]["catalogue"] == "flickr8k"
    assert head["model"]["tokenizer"].startswith("SimpleTokenizer ")
    assert reuse.take({**head, "model": head["model"] | {"tokenizer": "SimpleTokenizer other"}}) is None


def test_a_glyph_set_of_another_run_is_measured_where_it_lies(app, at_once, place):
    folder = place / "other-run/eval/sets/glyphs-twemoji"
    shutil.copytree(place / "shapes", folder)
    outcome = evaluate(app, place, f"eval.datasets={folder}", "eval.tasks=zero_shot")
    assert outcome.code == 0, outcome
    (cell,) = read_cells(app.run)
    assert cell.record["dataset"]["name"] == "glyphs-twemoji" and cell.record["dataset"]["images"] == 48
    assert cell.record["dataset"]["catalogue"] is None


@pytest.mark.parametrize("what", ["/nowhere", "run-without-cells"])
def test_a_run_to_reuse_that_has_no_cells_is_told_at_submission(app, place, tmp_path, what):
    (tmp_path / "run-without-cells").mkdir()
    given = what if what.startswith("/") else str(tmp_path / what)
    outcome = evaluate(app, place, f"eval.reuse={given}")
    assert outcome.code == 2 and f"eval.reuse={given}: it has no finished cells" in outcome.words


def test_a_machine_without_a_gpu_is_told_at_submission(app, place, monkeypatch):
    monkeypatch.setattr("synthclip_hpc.place.count_gpus", lambda devices, environ: 0)
    outcome = evaluate(app, place, "eval.device=cuda")
    assert outcome.code == 2 and "eval.device=cuda: there is no GPU" in outcome.words
    assert not app.path.exists()


def test_data_that_are_not_on_the_node_fail_with_its_name_and_come_back(app, at_once, place, monkeypatch):
    from synthclip_hpc.evaluation import on_node

    with monkeypatch.context() as patch:
        patch.setattr(on_node, "_is_seen", lambda one, root: one.name != "shapes")
        assert evaluate(app, place).code != 0
    errors = last_errors(app.run, "eval", "cells")
    told = f"on node {os.uname().nodename}: the folder {place}/shapes of shapes is not to be seen from here"
    assert list(errors) == [0, 1, 2] and all(told in error for error in errors.values())
    assert [cell.dataset for cell in read_cells(app.run)] == ["pairs"]
    assert app("resume", "wait=true").code == 0
    assert len(read_cells(app.run)) == 4


def test_a_data_set_that_changed_since_it_was_planned_is_refused(app, at_once, place, monkeypatch):
    from synthclip_hpc.evaluation.facts import facts_of

    def changed(folder):
        found = facts_of(folder)
        return found if folder.name != "pairs" else type(found)(**{**vars(found), "texts": "other"})

    with monkeypatch.context() as patch:
        patch.setattr("synthclip_hpc.evaluation.on_node.facts_of", changed)
        assert evaluate(app, place).code != 0
    errors = last_errors(app.run, "eval", "cells")
    assert list(errors) == [3] and "pairs has changed since the evaluation was planned" in errors[3]
    assert app("resume", "wait=true").code == 0


def test_other_weights_than_planned_are_refused_by_the_worker(app, at_once, place, monkeypatch):
    from synthclip_hpc.evaluation import models

    find = models.outside_model
    calls: list[int] = []

    def other(settings):
        calls.append(1)
        found = find(settings)
        return found if len(calls) == 1 else models.Model(found.name, None, "f" * 64, found.size_bytes)

    monkeypatch.setattr(models, "outside_model", other)
    assert evaluate(app, place).code != 0
    told = " ".join(last_errors(app.run, "eval", "cells").values())
    assert "its files have changed since the evaluation was planned" in told


def test_a_damaged_image_fails_its_cell_with_its_name(app, at_once, place):
    tar = place / "pairs/test/0.tar"
    content = bytearray(tar.read_bytes())
    start = content.index(b"\x89PNG")
    content[start + 60 : start + 200] = bytes(140)
    tar.write_bytes(content)
    assert evaluate(app, place).code != 0
    errors = last_errors(app.run, "eval", "cells")
    assert list(errors) == [3] and "model, pairs, retrieval: " in errors[3] and "damaged image" in errors[3]
    assert len(read_cells(app.run)) == 3


def test_another_task_after_the_start_is_refused_with_both_values(app, at_once, place):
    assert evaluate(app, place).code == 0
    outcome = evaluate(app, place, "eval.tasks=zero_shot")
    assert outcome.code == 2 and "eval.tasks" in outcome.words and "'zero_shot'" in outcome.words


def test_a_damaged_cell_is_found_and_made_again_with_the_same_bytes(app, at_once, place):
    assert evaluate(app, place).code == 0
    before = same_set(app.path)
    cell = app.path / "eval/cells/data/000/00001.json"
    cell.write_bytes(cell.read_bytes().replace(b'"accuracy":', b'"accuracx":', 1))
    assert app("verify").code == 1
    assert app("repair").code == 0
    assert app("resume", "wait=true").code == 0
    assert same_set(app.path) == before


def test_killed_with_sigkill_and_resumed_it_has_the_same_bytes(app, place, tmp_path):
    calm = App(tmp_path / "calm")
    words = [
        f"eval.datasets={place / 'shapes'},{place / 'pairs'}", f"eval.model={place / 'model'}", "eval.checkpoints=none",
        "eval.device=cpu", "eval.episodes=20", "eval.loader_workers=1", "workers=1", "cluster=local",
    ]  # fmt: skip
    done = spawn("submit", "stage=eval", "wait=true", f"run={calm.path}", *words, timeout_s=240)
    assert done.code == 0, done
    assert spawn("submit", "stage=eval", f"run={app.path}", *words, timeout_s=120).code == 0
    pid = until(lambda: worker_with_features(app))
    os.kill(pid, signal.SIGKILL)
    assert spawn("resume", f"run={app.path}", "cluster=local", "wait=true", timeout_s=240).code == 0
    assert same_set(app.path) == same_set(calm.path)
    assert len(read_cells(app.run)) == 4
    assert not list((app.path / "eval/features").glob(".*"))
    starts = [
        event for path in (app.path / "eval/cells/journals").glob("local*.jsonl") for event in read_events(path)[0]
    ]
    assert sum(event["event"] == "start" and event.get("role") != "seal" for event in starts) >= 2


def worker_with_features(app: App) -> int | None:
    """The pid of the worker once it has begun with a cell; it is then at work on features or on what follows."""
    for path in (app.path / "eval/cells/journals").glob("local*.jsonl"):
        events = read_events(path)[0]
        if any(event["event"] == "shard_start" for event in events):
            return int(next(event["pid"] for event in events if event["event"] == "start"))
    return None


def until(condition, seconds: float = 120.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def test_a_glyph_set_that_was_changed_is_found_and_drawn_again(app, at_once, place):
    pytest.importorskip("cv2")
    words = ("eval.datasets=glyphs-openmoji", "eval.tasks=zero_shot", "eval.glyph_images=1", "render.size=32")
    outcome = evaluate(app, place, *words)
    assert outcome.code == 0, outcome
    assert "zero-shot top-1" in outcome.words and "(chance 1.0 %)" in outcome.words
    (cell,) = read_cells(app.run)
    assert (cell.record["dataset"]["images"], cell.record["classes"]["number"]) == (100, 100)
    assert app("verify").code == 0
    before = tree(app.path / "eval/sets/glyphs-openmoji") | same_set(app.path)
    (app.path / "eval/sets/glyphs-openmoji/classnames.txt").write_text("other\n")
    found = app("verify")
    assert found.code == 1 and "glyphs-openmoji/classnames.txt is not as it was written" in found.words
    assert app("repair").code == 0
    assert app("resume", "wait=true").code == 0
    assert tree(app.path / "eval/sets/glyphs-openmoji") | same_set(app.path) == before
