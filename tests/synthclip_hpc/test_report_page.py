"""The report as people get it: what is shown, what is told as missing, and that nothing leaks or breaks."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest

from synthclip_hpc.errors import UserError
from synthclip_hpc.reporting.blocks import Figure, Figures, Listing, Report, Row, Section, Table, Text, Value
from synthclip_hpc.reporting.build import build_report
from synthclip_hpc.reporting.html import to_html
from synthclip_hpc.reporting.markdown import to_markdown
from synthclip_hpc.reporting.portable import command_line, portable, shown_value
from synthclip_hpc.reporting.table_files import to_csv, to_latex
from synthclip_hpc.reporting.writing import write_report
from tests.synthclip_hpc.report_runs import cell, new_run, paper_cells, put_cells, put_plan, retrieval, zero_shot

SECTIONS_OF_NOTHING = ["overview", "paper", "provenance"]


class Page(HTMLParser):
    """The elements of a page that a test asks about; unbalanced tags are an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in ("meta", "img", "br", "link"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


def table(report: Report, name: str) -> Table:
    return next(one for one in report.tables() if one.name == name)


def texts(report: Report) -> str:
    return " ".join(block.text for section in report.sections for block in section.blocks if isinstance(block, Text))


def test_a_run_without_anything_gets_a_report_that_says_so(tmp_path: Path) -> None:
    report = build_report(new_run(tmp_path / "empty"))
    assert [section.name for section in report.sections] == SECTIONS_OF_NOTHING
    assert "Nothing was evaluated" in texts(report)
    assert "stages" not in [one.name for one in report.tables()]
    assert all(one.folded for one in report.tables() if one.name.startswith("table-"))
    Page(to_html(report))


def test_glyph_sets_are_told_for_what_they_are_with_guessing_beside(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    records = [zero_shot("glyphs-twemoji", 0.931, 0.99), zero_shot("glyphs-openmoji", 0.41, 0.7)]
    put_cells(run, [*records, retrieval("glyphs-twemoji-retrieval", 0.8)])
    report = build_report(run)
    shown = texts(report)
    assert "not comparable with the paper's tables" in shown
    assert "twemoji is the style of the training images" in shown
    assert "None of its data sets was evaluated in this run" in shown
    rows = table(report, "results").rows
    assert len(rows) == 3 + 3 + 6
    assert [value.text for value in rows[0].cells] == ["glyphs-twemoji", "zero-shot", "top-1", "1", "93.1"]
    assert (rows[0].cells[-1].share, rows[0].cells[-1].chance) == (0.931, 0.01)


def test_a_run_stands_below_the_rows_of_the_paper(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    put_cells(run, paper_cells("SynthCLIP 30M", plus=1.0))
    found = table(build_report(run), "table-1a-linear-probe")
    assert not found.folded
    assert len(found.rows) == 8
    assert found.rows[-1].kind == "ours"
    assert [value.text for value in found.rows[-1].cells[3:]] == [
        "89.0",
        "70.6",
        "46.3",
        "72.0",
        "93.4",
        "78.6",
        "70.0",
        "87.2",
        "77.0",
        "76.0",
    ]


def test_a_data_set_that_was_not_evaluated_is_missing_and_so_is_the_mean(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    put_cells(run, [cell("cifar10", "linear_probe", {"accuracy": 0.5}, "epoch-0040")])
    report = build_report(run)
    values = [value.text for value in table(report, "table-1a-linear-probe").rows[-1].cells[3:]]
    assert values == ["50.0"] + 9 * ["—"]
    delta = table(report, "delta-mtl").rows[0]
    assert [value.text for value in delta.cells] == [
        "epoch-0040",
        "in part: linear probe",
        f"{100 * (50.0 / 91.3 - 1):+.2f}",
    ]


def test_other_runs_stand_beside_and_make_the_scaling_plot(tmp_path: Path) -> None:
    runs = []
    for name, row, samples in (("small", "SynthCLIP 3M", 3_000_000), ("large", "SynthCLIP 30M", 30_000_000)):
        run = new_run(tmp_path / name)
        (run.path / "dataset/shards").mkdir(parents=True)
        (run.path / "dataset/shards/sizes.json").write_text(f'{{"00000.tar": {samples}}}')
        put_cells(run, paper_cells(row))
        runs.append(run)
    report = build_report(runs[1], others=str(runs[0].path))
    gains = table(report, "scaling").rows
    assert [row.cells[0].text for row in gains] == ["small epoch-0040", "large epoch-0040"]
    assert [value.text for value in gains[0].cells[1:]] == ["3,000,000"] + 5 * ["+0.0"]
    assert gains[1].cells[-1].text == f"{100 * (30.5 / 9.5 - 1):+.1f}"
    assert "scaling" in [plot.name for plot in report.plots()]
    kinds = [row.kind for row in table(report, "table-1b-zero-shot").rows]
    assert kinds == 7 * ["paper"] + ["ours", "others"]


def test_any_row_can_be_the_baseline(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    put_cells(run, paper_cells("SynthCLIP 30M"))
    found = table(build_report(run, baseline="epoch-0040"), "delta-mtl")
    assert found.title == "Δ_MTL over epoch-0040"
    assert "epoch-0040" not in [row.cells[0].text for row in found.rows]
    with pytest.raises(UserError, match="did you mean 'Mixed'"):
        build_report(run, baseline="mixd")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"report\.runs=.*is no run"):
        build_report(new_run(tmp_path / "run"), others=str(tmp_path / "nowhere"))


def test_a_report_names_no_host_and_no_folder_of_this_machine(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", concepts__bank=str(tmp_path / "bank.txt"))
    put_plan(run, "concepts", "read")
    put_cells(run, [zero_shot("glyphs-twemoji", 0.5, 0.8)])
    report = build_report(run)
    for text in (to_html(report), to_markdown(report), *(to_csv(one) for one in report.tables())):
        assert str(tmp_path) not in text
        assert "secret-host" not in text
        assert "/somewhere" not in text
    assert "bank.txt" in to_csv(table(report, "configuration"))


def test_paths_and_commands_keep_their_last_part_only() -> None:
    assert portable("/scratch/data/cc3m:500000,/other/set") == "cc3m:500000,set"
    assert portable("mistralai/Mistral-7B-Instruct-v0.2") == "mistralai/Mistral-7B-Instruct-v0.2"
    assert portable("~/bank.txt") == "bank.txt"
    assert portable("$HOME/my data/bank.txt") == "bank.txt"
    assert portable("/home/John Doe/x") == "x"
    assert portable("/home/John Doe/x/,/data/two words/y z.txt:5,vtab/cifar10") == "x,y z.txt:5,cifar10"
    assert portable("local-dir:/home/John Doe/model") == "local-dir:model"
    assert portable("https://example.org/some/page and/or this") == "https://example.org/some/page and/or this"
    assert portable("/data") == "data"
    assert portable(3) == 3
    assert command_line(["/x/synthclip_hpc/submit.py", "stage=all", "run=/scratch/me/a"]) == (
        "python -m synthclip_hpc.submit stage=all run=a"
    )
    assert command_line(["submit", "slurm.account=me", "stage=all", "--slurm.partition", "mine", "a=b"]) == (
        "submit stage=all a=b"
    )
    assert command_line(["submit", "run=/home/John Doe/my run"]) == "submit 'run=my run'"


def test_relative_paths_keep_their_last_part_only_and_names_with_a_slash_stay() -> None:
    assert shown_value("eval.reuse", "runs/out,runs/demo/") == "out,demo"
    assert shown_value("eval.datasets", "cifar10,./data/my set") == "cifar10,my set"
    assert shown_value("captions.model", "mistralai/Mistral-7B-Instruct-v0.2") == "mistralai/Mistral-7B-Instruct-v0.2"
    assert shown_value("eval.model", "hf-hub:someone/CLIP") == "hf-hub:someone/CLIP"
    assert shown_value("eval.model", "runs/demo/train/export") == "export"
    assert shown_value("eval.model", "./export/") == "export"
    assert shown_value("report.baseline", "demo/train/export") == "demo/train/export"
    assert shown_value("eval.episodes", 500) == 500
    command = command_line(["submit", "run=runs/b", "--eval.reuse", "runs/a,../c", "--eval.model=x/y/z", "stage=eval"])
    assert command == "submit run=b --eval.reuse a,c --eval.model=z stage=eval"


def test_no_line_of_a_page_begins_with_a_percent_sign() -> None:
    blocks = (Figures((Figure("93.1 %", "top-1", "guessing: 1 %"),)),)
    page = to_html(Report("run", "", (Section("s", "S", blocks),)))
    assert "<dd>93.1\N{NO-BREAK SPACE}%</dd>" in page
    assert "guessing: 1\N{NO-BREAK SPACE}%</dd>" in page


def test_a_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    models = [f"epoch-{epoch:04d}" for epoch in (5, 10)]
    put_cells(run, [zero_shot("glyphs-twemoji", 0.5, 0.8, model) for model in models])
    report = build_report(run)
    page = Page(to_html(report))
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert "script" not in page.tags
    # Each plot for a wide page and for a narrow one.
    assert page.tags.count("svg") == 2 * len(report.plots()) == 4
    assert len(page.ids) == len(set(page.ids))
    assert page.tags.count("section") == len(report.sections)


def test_names_are_text_and_not_markup() -> None:
    rows = (Row((Value("<b>bold</b>"), Value("a|b")), "ours"),)
    blocks = (Table("t", "50 % & more_less", ("<x>", "y"), rows), Listing("l", "<script>```"))
    report = Report("<i>run</i>", "", (Section("s", "S", blocks),))
    page = to_html(report)
    assert "<b>bold" not in page
    assert "&lt;b&gt;bold" in page
    assert "<script>" not in page
    assert "| **&lt;b&gt;bold&lt;/b&gt;** | **a\\|b** |" in to_markdown(report)
    assert r"\caption{50 \% \& more\_less}" in to_latex(report.tables()[0])


def test_long_words_of_an_error_are_wrapped() -> None:
    rows = (Row((Value("x"), Value("short"), Value("a long story " * 5))),)
    page = to_html(Report("run", "", (Section("s", "S", (Table("t", "T", ("", "a", "b"), rows, 3),)),)))
    assert page.count("white-space: normal; min-width: 16rem") == 1
    assert re.findall(r'<td class="([^"]*)"', page) == ["", " long"]


def test_a_table_is_the_same_in_all_forms(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    put_cells(run, paper_cells("SynthCLIP 30M"))
    found = table(build_report(run), "table-2")
    lines = list(csv.reader(to_csv(found).splitlines()))
    assert lines[0] == list(found.head)
    assert lines[1:] == [[value.text for value in row.cells] for row in found.rows]
    latex = to_latex(found)
    assert latex.count(r" \\") == len(lines)
    assert latex.count(r"\midrule") == 2  # below the titles, and between the paper's rows and the run's
    assert all(line.count("&") == len(found.head) - 1 for line in latex.splitlines() if line.endswith(r"\\"))
    assert "Δ" not in latex


def test_writing_replaces_the_old_report_and_nothing_else(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    folder = tmp_path / "run" / "report"
    put_cells(run, [zero_shot("glyphs-twemoji", 0.5, 0.8, f"epoch-{epoch:04d}") for epoch in (5, 10)])
    report = build_report(run)
    (folder / "tables").mkdir(parents=True)
    (folder / "tables/my.csv").write_text("kept")
    (folder / "coverage.png").write_bytes(b"kept")
    page = write_report(report, folder)
    assert page.read_text() == to_html(report)
    assert sorted(path.name for path in folder.iterdir()) == [
        ".files.json",
        "coverage.png",
        "plots",
        "report.html",
        "report.md",
        "tables",
    ]
    assert {path.name for path in (folder / "tables").iterdir()} == {
        f"{one.name}.{form}" for one in report.tables() for form in ("csv", "tex")
    } | {"my.csv"}
    assert (folder / "tables/my.csv").read_text() == "kept"
    assert {path.name for path in (folder / "plots").iterdir()} == {
        f"{plot.name}.{form}" for plot in report.plots() for form in ("svg", "png")
    }
    named = re.findall(r"\]\((plots/[^)]*)\)", (folder / "report.md").read_text())
    assert named
    assert all((folder / name).is_file() for name in named)


def test_what_a_report_no_longer_has_goes_unless_somebody_has_changed_it(tmp_path: Path) -> None:
    def report_with(*names: str) -> Report:
        tables = tuple(Table(name, name, ("x",), (Row((Value("1"),)),)) for name in names)
        return Report("r", "", (Section("s", "S", tables),))

    write_report(report_with("old", "edited", "stays"), tmp_path)
    (tmp_path / "tables/edited.tex").write_text("by hand")
    (tmp_path / "tables/mine.csv").write_text("kept")
    write_report(report_with("stays"), tmp_path)
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {
        "stays.csv",
        "stays.tex",
        "edited.tex",
        "mine.csv",
    }


def test_a_list_of_files_cannot_name_others(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "mine.txt").write_bytes(b"kept")
    sha = hashlib.sha256(b"kept").hexdigest()
    (tmp_path / "report/.files.json").write_text(json.dumps({"../mine.txt": sha, "tables/../../mine.txt": sha}))
    write_report(Report("r", "", ()), tmp_path / "report")
    assert (tmp_path / "mine.txt").read_bytes() == b"kept"


def test_any_name_can_be_drawn_and_stands_in_the_legend(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    put_cells(run, [zero_shot("cost$_{x$", 0.5, 0.8, "_a$b$"), zero_shot("x_$\\frac{", 0.5, 0.8, "_a$b$")])
    (plot,) = build_report(run).plots()
    assert "cost$_{x$: zero-shot top-1" in plot.svg
    assert re.search(r"<text[^>]*> ?_a\$b\$</text>", plot.svg)
    epochs = [zero_shot("_set", 0.5, 0.8, f"epoch-{epoch:04d}") for epoch in (5, 10)]
    found = new_run(tmp_path / "found")
    put_cells(found, [*epochs, *(zero_shot("other", 0.5, 0.8, f"epoch-{epoch:04d}") for epoch in (5, 10))])
    plot = next(one for one in build_report(found).plots() if one.name.startswith("epochs"))
    assert "_set, zero-shot" in plot.svg


def test_the_same_run_gives_the_same_report_twice(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    put_cells(run, [zero_shot("glyphs-twemoji", 0.5, 0.8, f"epoch-{epoch:04d}") for epoch in (5, 10)])
    first, second = build_report(run), build_report(run)
    assert first == second
