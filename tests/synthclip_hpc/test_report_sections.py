"""The sections about what a run has made: captions, images, training."""

from __future__ import annotations

import io
import json
import math
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from synthclip_hpc.reporting.blocks import Figures, Gallery, Table
from synthclip_hpc.reporting.build import build_report
from synthclip_hpc.reporting.plots import bin_means, plain_number
from synthclip_hpc.reporting.samples_section import samples_section
from synthclip_hpc.reporting.training_section import training_section
from synthclip_hpc.run import Run
from synthclip_hpc.stages.balance.coverage import report_of
from synthclip_hpc.training import places
from synthclip_hpc.training.metrics import MetricsWriter
from tests.synthclip_hpc.app import App
from tests.synthclip_hpc.report_runs import new_run

CAPTIONS = ("stage=captions,balance", "concepts.bank=emoji", "concepts.limit=40", "captions.per_concept=4")


def train(run: Run, attempt: str, first: int, last: int, loss: float = 4.0) -> None:
    """Write the metrics of steps, the loss falling by 0.01 a step."""
    folder = places.metrics_folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    writer = MetricsWriter(places.metrics_file(run, attempt, 0))
    for step in range(first, last + 1):
        fields = {"epoch": 0, "samples": 8 * step, "lr": 1e-3, "logit_scale": 14.0, "grad_norm": 1.0}
        writer.steps([{"step": step, "loss": loss - 0.01 * step, **fields}])
    writer.timing(step=last, samples_per_s=100.0 * first, data_wait_s=0.1, step_s=0.4)
    writer.close()


@pytest.mark.usefixtures("at_once")
def test_coverage_is_that_of_the_balance(app: App) -> None:
    assert app("submit", *CAPTIONS, "balance.target=60").code == 0
    report = build_report(app.run)
    found = report_of(app.run)
    assert found is not None
    (section,) = [one for one in report.sections if one.name == "coverage"]
    figures = next(block for block in section.blocks if isinstance(block, Figures))
    assert [item.value for item in figures.items[:2]] == ["60", f"{found.sets['after'].seen[1]}"]
    accounting = next(block for block in section.blocks if isinstance(block, Table) and "accounting" in block.name)
    counts = {row.cells[0].text: int(row.cells[1].text.replace(",", "")) for row in accounting.rows}
    assert counts["came in"] == 160 == sum(counts.values()) - counts["came in"]
    own = next(one for one in report.tables() if one.name == "table-5").rows[-1]
    assert own.kind == "ours"
    assert own.cells[1].text == f"{found.sets['after'].seen[1]}"
    (overview,) = [one for one in report.sections if one.name == "overview"]
    assert "captions written by templates" in str(overview.blocks[0])


def test_training_tells_where_it_stands(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", train__batch_size=8)
    assert training_section(run, run.load_config()) is None
    train(run, "one_0_0", 1, 30)
    section = training_section(run, run.load_config())
    assert section is not None
    figures = next(block for block in section.blocks if isinstance(block, Figures))
    assert [item.value for item in figures.items] == ["3.700", "30", "240", "100"]
    assert figures.items[0].beside == f"guessing: ln 8 = {math.log(8):.3f}"
    assert figures.items[3].beside == "25% waiting for data"
    assert "not finished" in str(section.blocks[1])


def test_steps_that_were_done_twice_are_waste_and_told_where_they_differ(tmp_path: Path) -> None:
    from synthclip_hpc.reporting.bill import _steps

    run = new_run(tmp_path / "run")
    train(run, "one_0_0", 1, 30)
    train(run, "one_0_1", 21, 40, loss=4.5)
    assert _steps(run) == (50, 40)
    section = training_section(run, run.load_config())
    assert section is not None
    assert any("10 steps were done twice" in str(block) for block in section.blocks)


def test_a_loss_that_is_not_finite_is_drawn_around() -> None:
    places_, means, low, high = bin_means([1.0, float("nan"), 3.0, float("inf"), 5.0], 3)
    assert (places_, means, low, high) == ([1, 3, 4], [1.0, 3.0, 5.0], [1.0, 3.0, 5.0], [1.0, 3.0, 5.0])


def test_ticks_are_short() -> None:
    assert [plain_number(value) for value in (30e6, 8.8e6, 1000, 0.5, 0)] == ["30M", "8.8M", "1,000", "0.5", "0"]


def test_evaluated_images_are_shown_with_their_class(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    folder = run.path / "eval/sets/glyphs-twemoji"
    (folder / "test").mkdir(parents=True)
    (folder / "classnames.txt").write_text("apple\nboat\n")
    picture = io.BytesIO()
    Image.new("RGB", (300, 200), "red").save(picture, "PNG")
    with tarfile.open(folder / "test/0.tar", "w") as tar:
        for key in range(40):
            for name, data in ((f"{key:03d}.png", picture.getvalue()), (f"{key:03d}.cls", str(key % 2).encode())):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    section = samples_section(run)
    assert section is not None
    (gallery,) = [block for block in section.blocks if isinstance(block, Gallery)]
    assert len(gallery.pictures) == 12
    assert {picture.caption for picture in gallery.pictures} == {"apple", "boat"}
    with Image.open(io.BytesIO(gallery.pictures[0].image)) as small:
        assert (small.format, small.size) == ("JPEG", (180, 120))


def test_a_run_of_a_newer_version_is_a_mistake_and_no_traceback(app: App) -> None:
    run = new_run(app.path)
    path = run.phase("balance", "coverage")
    path.path.mkdir(parents=True)
    path.seal_path.write_text(json.dumps({"schema": 99}))
    outcome = app("report")
    assert outcome.code == 2, outcome
