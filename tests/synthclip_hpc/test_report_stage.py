"""Stage `report` and the command of that name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from synthclip_hpc.reporting.listing import results_of
from synthclip_hpc.reporting.places import TOLD_STAGES
from synthclip_hpc.run import Run
from synthclip_hpc.stages.report import PHASE
from tests.synthclip_hpc.app import App
from tests.synthclip_hpc.report_runs import new_run, put_cells, zero_shot

CONCEPTS = ("stage=concepts", "concepts.bank=emoji", "concepts.limit=20", "captions.per_concept=2")


@pytest.mark.usefixtures("at_once")
def test_the_stage_tells_of_what_there_is(app: App) -> None:
    assert app("submit", *CONCEPTS).code == 0
    outcome = app("submit", "stage=report")
    assert outcome.code == 0, outcome
    page = app.path / "report/report.html"
    assert "concepts read from the bank" in page.read_text()
    listed = json.loads((app.path / "report/page/data/000/00000.json").read_bytes())
    assert listed["sections"] == ["overview", "paper", "bill", "provenance"]
    assert list(listed["results"]) == ["concepts/read"]
    assert f"report: {page}" in app("submit", "stage=report").words


@pytest.mark.usefixtures("at_once")
def test_results_that_came_later_are_told_of_and_the_command_writes_anew(app: App) -> None:
    app("submit", *CONCEPTS)
    app("submit", "stage=report")
    put_cells(app.run, [zero_shot("glyphs-twemoji", 0.5, 0.8)])
    assert "it was made before eval/cells; anew: python -m synthclip_hpc.report" in app("submit", "stage=report").words
    outcome = app("report")
    assert outcome.code == 0, outcome
    assert f"report: {app.path}/report/report.html" in outcome.out
    assert "glyphs-twemoji" in (app.path / "report/report.html").read_text()
    # The list stays as it was published: it is part of the run's record.
    listed = json.loads((app.path / "report/page/data/000/00000.json").read_bytes())
    assert list(listed["results"]) == ["concepts/read"]


@pytest.mark.usefixtures("at_once")
def test_a_page_that_is_gone_is_found_and_made_again(app: App) -> None:
    app("submit", *CONCEPTS)
    app("submit", "stage=report")
    (app.path / "report/report.html").unlink()
    assert "report.html is gone" in app("verify").words
    assert app("repair").code == 0
    assert app("resume", "wait=true").code == 0
    assert (app.path / "report/report.html").exists()
    assert app("verify").code == 0


def test_results_are_equal_whoever_made_them(tmp_path: Path) -> None:
    runs = [new_run(tmp_path / name) for name in ("calm", "killed")]
    for run, host in zip(runs, ("one", "another"), strict=True):
        put_cells(run, [zero_shot("glyphs-twemoji", 0.5, 0.8) | {"provenance": {"host": host}}])
    calm, killed = (results_of(run, TOLD_STAGES) for run in runs)
    assert calm == killed
    assert list(calm) == ["eval/cells"]


def test_a_folder_and_other_runs_can_be_named(app: App, tmp_path: Path) -> None:
    new_run(app.path)
    new_run(tmp_path / "other")
    outcome = app("report", f"runs={tmp_path / 'other'}", f"out={tmp_path / 'shown'}")
    assert outcome.code == 0, outcome
    assert "beside other" in (tmp_path / "shown/report.md").read_text()
    assert not (app.path / "report").exists()
    assert "is no run" in app("report", "runs=nowhere").err
    assert app("report", "baseline=CLIP CC3").code == 2


def test_keys_of_the_configuration_and_their_short_spellings_are_the_same(app: App, tmp_path: Path) -> None:
    new_run(app.path)
    new_run(tmp_path / "other")
    for words in (("report.runs", "report.baseline"), ("--report.runs", "--report.baseline"), ("runs", "baseline")):
        given = f"{words[0]}={tmp_path / 'other'}", f"{words[1]}=CLIP CC3M", f"out={tmp_path / words[0]}"
        outcome = app("report", *given)
        assert outcome.code == 0, outcome
        told = (tmp_path / words[0] / "report.md").read_text()
        assert "beside other" in told
        assert "over CLIP CC3M" in told
    outcome = app("report", "baseline=Mixed", "report.baseline=CLIP CC3M")
    assert outcome.code == 2
    assert "they mean the same" in outcome.err


def test_a_run_that_is_named_beside_itself_stands_there_once(app: App, tmp_path: Path) -> None:
    new_run(app.path)
    new_run(tmp_path / "other")
    outcome = app("report", f"runs={app.path},{tmp_path / 'other'}")
    assert outcome.code == 0, outcome
    assert "the run itself is among them" in outcome.out
    assert "beside other\n" in (app.path / "report/report.md").read_text()
    assert "among them" not in app("report", f"runs={tmp_path / 'other'}").out


def test_a_folder_that_cannot_be_written_is_a_mistake(app: App, tmp_path: Path) -> None:
    new_run(app.path)
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file/below", Path("/proc/nope")):
        outcome = app("report", f"out={place}")
        assert outcome.code == 2, outcome
        assert f"out={place}: cannot be written" in outcome.err


def test_a_file_in_the_way_in_a_folder_of_ones_own_is_a_mistake(app: App, tmp_path: Path) -> None:
    new_run(app.path)
    mine = tmp_path / "paper/tables"
    mine.mkdir(parents=True)
    (mine / "versions.csv").write_text("mine")
    outcome = app("report", f"out={tmp_path / 'paper'}")
    assert outcome.code == 2, outcome
    assert "tables/versions.csv is there, and no report has written it" in outcome.err
    assert [path.relative_to(mine).as_posix() for path in mine.rglob("*")] == ["versions.csv"]
    (mine / "versions.csv").rename(mine / "my.csv")
    for _ in range(2):  # the second time the report's own files are in their place
        assert app("report", f"out={tmp_path / 'paper'}").code == 0
    assert (mine / "my.csv").read_text() == "mine"


def test_no_run_is_a_mistake_with_the_command_that_makes_one(app: App) -> None:
    outcome = app("report")
    assert outcome.code == 2
    assert "python -m synthclip_hpc.submit" in outcome.err


def test_missing_packages_are_told_before_anything_is_submitted(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synthclip_hpc.reporting.preflight.missing_here", lambda names: ["jinja2"])
    outcome = app("submit", "stage=report")
    assert outcome.code == 2
    assert "jinja2 is not found here" in outcome.err
    assert not app.path.exists()


def test_damaged_lists_are_found(tmp_path: Path) -> None:
    run = Run(tmp_path)
    plan = PHASE.layout(run_config(), sources())
    path = tmp_path / "list.json"
    for text in ("{}", "[]", '{"schema": 2, "results": {}}', "{"):
        path.write_text(text)
        with pytest.raises(ValueError):
            PHASE.inspect(run, path, plan, plan.shard(0))


def run_config():
    from synthclip_hpc.config import RunConfig

    return RunConfig()


def sources():
    from synthclip_hpc.stages.phase import Sources

    return Sources(run_config())


@pytest.mark.usefixtures("at_once")
def test_what_a_killed_attempt_left_is_in_nobodys_way(app: App) -> None:
    app("submit", *CONCEPTS)
    left = app.path / "report/page/partial/report-local9_0_0/tables"
    left.mkdir(parents=True)
    (left / "half.csv").write_text("a,b")
    outcome = app("submit", "stage=report")
    assert outcome.code == 0, outcome
    assert sorted(path.name for path in (app.path / "report").iterdir()) == [
        ".files.json",
        "page",
        "plots",
        "report.html",
        "report.md",
        "tables",
    ]
    assert not (app.path / "report/page/partial").exists()
