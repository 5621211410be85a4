"""The report of an evaluation alone: a model from elsewhere, cells that failed, and stages the run does not have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from sharding.canonical import canonical_json
from synthclip_hpc.evaluation.models import outside_model
from synthclip_hpc.reporting.blocks import Report, Table, Text
from synthclip_hpc.reporting.build import build_report
from synthclip_hpc.reporting.naming import set_title
from synthclip_hpc.reporting.open_cells import last_errors
from synthclip_hpc.reporting.outside_model import architecture_in_words
from synthclip_hpc.reporting.results_section import glyph_statement
from synthclip_hpc.reporting.runs import ToldRun
from synthclip_hpc.run import Run
from tests.synthclip_hpc.report_runs import cell, new_run, outside, put_cells, retrieval, zero_shot

MODEL = "demo/train/export"
TINY = {"embed_dim": 128, "vision_cfg": {"layers": 2, "width": 64, "patch_size": 8, "image_size": 64}, "text_cfg": {}}


def table(report: Report, name: str) -> Table | None:
    return next((one for one in report.tables() if one.name == name), None)


def texts(report: Report) -> list[str]:
    return [block.text for section in report.sections for block in section.blocks if isinstance(block, Text)]


def fail(run: Run, attempt: str, shard: int, message: str, at: float) -> None:
    """Write a journal in which an attempt at a cell has failed."""
    path = run.phase("eval", "cells").journal_path(attempt)
    path.parent.mkdir(parents=True, exist_ok=True)
    events: list[dict[str, Any]] = [
        {"event": "start", "attempt": attempt, "job": attempt.split("_")[0], "index": 0, "node": "n1", "time": at - 1},
        {"event": "shard_failed", "shard": shard, "type": "UserError", "message": message, "where": "x", "time": at},
        {"event": "end", "reason": "failed", "time": at + 1},
    ]
    path.write_text("".join(json.dumps(one) + "\n" for one in events))


def test_a_model_from_elsewhere_has_one_name_its_architecture_and_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY}))
    save_file({"weight": np.arange(4, dtype=np.float32)}, folder / "open_clip_model.safetensors")
    run = new_run(tmp_path / "run", eval__model=str(folder), eval__checkpoints="none")
    planned = outside_model(run.load_config().eval).identity() | {"name": MODEL}
    put_cells(run, [outside(zero_shot("mine", 0.5, 0.8, MODEL))], models=[planned])
    report = build_report(run)
    told = f"{MODEL} (images of 64 pixels: ViT/8, 2 layers, width 64; text: 12 layers, width 512; embedding: 128; "
    told += "sha256 abababababab)"
    assert texts(report)[0] == f"Evaluated: {told}. Seed 0."
    assert told in [row.cells[1].text for row in (table(report, "provenance") or pytest.fail()).rows]
    rows = {row.cells[0].text: row.cells[1].text for row in (table(report, "configuration") or pytest.fail()).rows}
    assert rows["eval.model"] == MODEL
    assert {key.partition(".")[0] for key in rows} == {"seed", "eval"}
    # Files that are not those of the plan any more tell nothing of the model that was evaluated.
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY | {"embed_dim": 64}}))
    assert texts(build_report(run))[0] == f"Evaluated: {MODEL} (sha256 abababababab). Seed 0."


def test_architectures_are_told_as_open_clip_has_them() -> None:
    resnet = {"layers": [1, 2, 3, 4], "width": 16, "image_size": 64}
    told = architecture_in_words({"embed_dim": 8, "vision_cfg": resnet, "text_cfg": {"layers": 1, "width": 64}})
    assert told == "images of 64 pixels: ResNet 1-2-3-4, width 16; text: 1 layer, width 64; embedding: 8"
    others = {"embed_dim": 8, "vision_cfg": {"timm_model_name": "a"}, "text_cfg": {"hf_model_name": "b/c"}}
    assert architecture_in_words(others) == "images of 224 pixels: a; text: b/c; embedding: 8"


def test_what_is_not_evaluated_yet_is_not_said_to_be(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", eval__model="ViT-B-16", eval__pretrained="openai", eval__checkpoints="none")
    put_cells(run, [], missing=[outside(zero_shot("mine", 0.5, 0.8, "ViT-B-16 openai"))])
    report = build_report(run)
    assert texts(report)[0] == "To be evaluated: ViT-B-16 openai. Seed 0."
    assert "Nothing was evaluated in this run yet" in texts(report)[1]
    stages = table(report, "stages") or pytest.fail()
    assert [row.cells[0].text for row in stages.rows] == ["eval"]
    assert stages.note == "Not part of the run so far: concepts, captions, balance, render, merge, train."
    open_cells = table(report, "open-cells") or pytest.fail()
    assert [value.text for value in open_cells.rows[0].cells] == ["ViT-B-16 openai", "mine", "zero-shot", "open", ""]


def test_failed_and_open_cells_are_listed_with_their_last_error(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", eval__checkpoints="none", eval__model="x")
    cells = [
        outside(one) for one in (zero_shot("a", 0.5, 0.8, "x"), retrieval("b", 0.5, "x"), zero_shot("c", 0, 0, "x"))
    ]
    put_cells(run, cells[:1], missing=cells[1:])
    fail(run, "local2_0_0", 2, f"x, c, zero_shot: {tmp_path}/c/templates.txt is missing; give one", 200.0)
    fail(run, "local1_0_0", 2, "an earlier one", 100.0)
    assert last_errors(run) == {2: f"x, c, zero_shot: {tmp_path}/c/templates.txt is missing; give one"}
    found = table(build_report(run), "open-cells") or pytest.fail()
    assert found.title == "Not evaluated: 2 of 3 cells"
    assert [[value.text for value in row.cells] for row in found.rows] == [
        ["x", "c", "zero-shot", "failed", "templates.txt is missing; give one"],
        ["x", "b", "retrieval", "open", ""],
    ]
    whole = new_run(tmp_path / "whole")
    put_cells(whole, cells[:1])
    assert table(build_report(whole), "open-cells") is None


def test_a_stage_that_failed_says_why(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    put_cells(run, [], missing=[zero_shot("a", 0.5, 0.8)])
    path = run.phase("eval", "cells").journal_path("local1_0_0")
    path.parent.mkdir(parents=True, exist_ok=True)
    start = {"event": "start", "attempt": "local1_0_0", "job": "local1", "index": 0, "node": "n1", "time": 1.0}
    end = {"event": "end", "reason": "failed", "type": "UserError", "message": f"{tmp_path}/x is gone", "time": 2.0}
    path.write_bytes(b"".join(canonical_json(one).replace(b"\n", b" ") + b"\n" for one in (start, end)))
    assert any(text.startswith("eval failed: ") and text.endswith("x is gone") for text in texts(build_report(run)))
    assert str(tmp_path) not in " ".join(texts(build_report(run)))


def test_glyph_sets_are_of_an_unseen_style_to_a_model_of_this_run_alone(tmp_path: Path) -> None:
    records = [zero_shot(name, 0.5, 0.8) for name in ("glyphs-twemoji", "glyphs-openmoji")]
    for one, told in ((records, True), ([outside(record) for record in records], False)):
        run = new_run(tmp_path / str(told))
        put_cells(run, one)
        cells = ToldRun(run, "run", True).cells
        assert ("training style" in set_title(cells[0], run.load_config())) is told
        assert ("never trained on" in glyph_statement(cells, run.load_config())) is told


def test_the_papers_figures_are_spoken_of_where_there_are_some(tmp_path: Path) -> None:
    words = "The paper's figures stand beside"
    unlike, like = (cell(name, "linear_probe", {"accuracy": 0.5}) for name in ("cifar10", "food101"))
    unlike["dataset"]["catalogue"] = None
    for number, (records, told) in enumerate((([unlike], False), ([unlike, like], True))):
        run = new_run(tmp_path / str(number))
        put_cells(run, records)
        plot = next(one for one in build_report(run).plots() if one.name == "results")
        assert (words in plot.note) is told
