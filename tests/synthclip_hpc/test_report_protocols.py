"""What may stand beside the paper's figures: its data sets, measured as the paper did; and what is said of the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from synthclip_hpc.evaluation.results import Cell
from synthclip_hpc.reporting.blocks import Listing, Report, Table, Text
from synthclip_hpc.reporting.build import build_report
from synthclip_hpc.reporting.protocols import standing, variant
from synthclip_hpc.reporting.scores import compare, paper_scores, scores_of_cells
from tests.synthclip_hpc.report_runs import cell, new_run, paper_cells, put_cells, retrieval, zero_shot


def with_parameters(record: dict[str, Any], **parameters: Any) -> dict[str, Any]:
    return record | {"parameters": record["parameters"] | parameters}


def by_path(record: dict[str, Any]) -> dict[str, Any]:
    return record | {"dataset": record["dataset"] | {"catalogue": None}}


def read(record: dict[str, Any]) -> Cell:
    model, dataset = record["model"], record["dataset"]
    return Cell(model["name"], model["epoch"], dataset["name"], record["task"], record["metrics"], record)


def table(report: Report, name: str) -> Table:
    return next(one for one in report.tables() if one.name == name)


def cautions(report: Report) -> str:
    blocks = [block for section in report.sections for block in section.blocks if isinstance(block, Text)]
    return " ".join(block.text for block in blocks if block.kind == "caution")


PROBE = cell("caltech101", "linear_probe", {"accuracy": 0.8})
FEW = cell("cifar10", "few_shot", {"accuracy": 0.8, "std": 0.1})
IMAGENET = zero_shot("imagenet1k", 0.3, 0.5)


@pytest.mark.parametrize(
    ("record", "tasks"),
    [
        (PROBE, ("linear_probe",)),
        (FEW, ("few_shot",)),
        (retrieval("flickr8k", 0.5), ("image_retrieval", "text_retrieval")),
        (IMAGENET, ("zero_shot",)),
        (with_parameters(IMAGENET, templates="openai80"), ("robustness",)),
        (zero_shot("imagenet-a", 0.1, 0.2), ("robustness",)),
        (cell("long_tail", "long_tail", {"acc1": 0.4}), ("long_tail",)),
        # The paper has no figures of these: they are nobody's to mistake for its own.
        (zero_shot("cifar10", 0.5, 0.9), ()),
        (zero_shot("glyphs-twemoji", 0.5, 0.9), ()),
        (with_parameters(cell("mine", "linear_probe", {"accuracy": 0.8}), probe="sklearn"), ()),
    ],
    ids=lambda value: f"{value['dataset']['name']}-{value['task']}" if isinstance(value, dict) else "-".join(value),
)
def test_what_is_like_the_paper_has_its_tasks(record: dict[str, Any], tasks: tuple[str, ...]) -> None:
    found = standing(read(record))
    assert (found.tasks, found.reasons) == (tasks, ())


UNVERIFIED = "its folder was not verified by the catalogue's splits and counts"


@pytest.mark.parametrize(
    ("record", "reasons"),
    [
        (by_path(PROBE), [UNVERIFIED]),
        (by_path(retrieval("flickr8k", 0.5)), [UNVERIFIED]),
        ({**PROBE, "dataset": {"name": "caltech101", "images": 6084}}, [UNVERIFIED]),  # of before there was the key
        (with_parameters(PROBE, probe="clip_benchmark"), ["clip_benchmark probe, the paper's: lgssl probe"]),
        (with_parameters(PROBE, metric="top1"), ["top-1, the paper's: mean per class"]),
        (with_parameters(PROBE, metric=None), ["metric not known, the paper's: mean per class"]),
        (with_parameters(FEW, episodes=3), ["3 episodes, the paper's: 5,000 episodes"]),
        (with_parameters(FEW, way=10, shot=1), ["10-way, the paper's: 5-way", "1-shot, the paper's: 5-shot"]),
        (with_parameters(FEW, queries=1), ["1 query, the paper's: 6 queries"]),
        (with_parameters(IMAGENET, templates=["a {c}."]), ["other prompts, the paper's: simple7 prompts"]),
        (
            with_parameters(zero_shot("imagenet-a", 0.1, 0.2), templates="simple7"),
            ["simple7 prompts, the paper's: openai80 prompts"],
        ),
        (
            by_path(with_parameters(PROBE, probe="sklearn")),
            [UNVERIFIED, "sklearn probe, the paper's: lgssl probe"],
        ),
        ({**PROBE, "parameters": {"metric": "mean_per_class"}}, ["probe not known, the paper's: lgssl probe"]),
        (
            {
                **cell("sun397", "linear_probe", {}),
                "dataset": {"name": "sun397", "catalogue": "sun397", "images": 108754},
            },
            ["tested on all 108,754 images, those of train among them"],
        ),
    ],
)
def test_what_is_not_is_told_with_all_reasons(record: dict[str, Any], reasons: list[str]) -> None:
    found = standing(read(record))
    assert found.tasks == ()
    assert list(found.reasons) == reasons


def test_a_departure_from_the_usual_protocol_is_named_whatever_the_data_set() -> None:
    mine = cell("mine", "linear_probe", {})
    assert variant(read(mine)) == ""
    assert variant(read(with_parameters(mine, probe="sklearn"))) == "sklearn"
    assert variant(read(with_parameters(cell("mine", "few_shot", {}), episodes=3, shot=1))) == "1-shot, 3 episodes"
    assert variant(read(retrieval("flickr8k", 0.5))) == ""
    for name, templates, told in (
        ("mine", "folder", ""),
        ("mine", "simple7", "simple7 prompts"),
        ("imagenet1k", "openai80", "openai80 prompts"),
        ("cifar10", ["a {c}."], "other prompts"),
    ):
        assert variant(read(with_parameters(zero_shot(name, 0.5, 0.9), templates=templates))) == told
    assert variant(read(zero_shot("cifar10", 0.5, 0.9))) == ""  # the prompts that the catalogue has for it
    assert variant(read(zero_shot("imagenet1k", 0.5, 0.9))) == ""


def test_fifteen_data_sets_of_another_protocol_are_no_evaluation_of_the_papers() -> None:
    base = paper_scores()["CLIP CC12M"]
    records = paper_cells("SynthCLIP 30M")
    assert compare(scores_of_cells("as the paper", [read(one) for one in records]), base).is_whole
    other: dict[str, dict[str, Any]] = {
        "linear_probe": {"probe": "clip_benchmark"},
        "few_shot": {"episodes": 3},
        "zero_shot": {"templates": "openai80"},
    }
    changed = [with_parameters(one, **other.get(one["task"], {})) for one in records]
    found = compare(scores_of_cells("otherwise", [read(one) for one in changed]), base)
    assert found.tasks == ("image_retrieval", "text_retrieval")
    assert not found.is_whole
    found = compare(scores_of_cells("by path", [read(by_path(one)) for one in records]), base)
    assert (found.percent, found.tasks, found.is_whole) == (None, (), False)


def test_one_folder_that_was_not_verified_keeps_the_whole_from_being_the_papers() -> None:
    records = paper_cells("SynthCLIP 30M")
    records[0] = by_path(records[0])
    found = compare(scores_of_cells("mine", [read(one) for one in records]), paper_scores()["CLIP CC12M"])
    assert found.tasks == ("linear_probe", "few_shot", "image_retrieval", "text_retrieval", "zero_shot")
    assert not found.is_whole


def test_two_runs_compare_only_what_was_measured_in_the_same_way() -> None:
    mine = [cell(name, "linear_probe", {"accuracy": 0.8}) for name in ("mine", "cifar10")]
    lgssl = scores_of_cells("lgssl", [read(one) for one in mine])
    sklearn = scores_of_cells("sklearn", [read(with_parameters(one, probe="sklearn")) for one in mine])
    assert compare(lgssl, sklearn).percent is None
    assert (
        compare(
            sklearn,
            scores_of_cells("again", [read(with_parameters(one, probe="sklearn", device="cuda")) for one in mine]),
        ).percent
        == 0
    )
    changed = mine[0] | {"dataset": mine[0]["dataset"] | {"sha256": "of other images"}}
    assert (
        compare(scores_of_cells("mine", [read(mine[0])]), scores_of_cells("changed", [read(changed)])).percent is None
    )


def test_two_runs_of_another_protocol_are_not_compared_as_the_paper_is() -> None:
    other: dict[str, dict[str, Any]] = {"linear_probe": {"probe": "sklearn"}}
    runs = [
        scores_of_cells(row, [read(with_parameters(one, **other.get(one["task"], {}))) for one in paper_cells(row)])
        for row in ("SynthCLIP 30M", "SynthCLIP 3M")
    ]
    found = compare(*runs)
    assert len(found.tasks) == 5
    assert not found.is_whole


def test_imagenet_stands_in_the_table_of_its_prompts(tmp_path: Path) -> None:
    for templates, in_table_1b, in_table_9 in (("simple7", 1, 0), ("openai80", 0, 1)):
        run = new_run(tmp_path / templates)
        put_cells(run, [with_parameters(IMAGENET, templates=templates)])
        report = build_report(run)
        assert sum(row.kind == "ours" for row in table(report, "table-1b-zero-shot").rows) == in_table_1b
        assert sum(row.kind == "ours" for row in table(report, "table-9").rows) == in_table_9
        assert not cautions(report)


def test_what_is_not_comparable_is_marked_and_in_no_table_of_the_papers(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    records = [cell(name, "linear_probe", {"accuracy": 0.8}, protocol="AdamW") for name in ("cifar10", "dtd")]
    put_cells(run, [with_parameters(one, probe="clip_benchmark") for one in records] + [by_path(FEW)])
    report = build_report(run)
    assert [[value.text for value in row.cells[:2]] for row in table(report, "results").rows] == [
        ["cifar10", "linear probe (clip_benchmark), not comparable with the paper"],
        ["cifar10", "few-shot, not comparable with the paper"],
        ["dtd", "linear probe (clip_benchmark), not comparable with the paper"],
    ]
    assert not any(row.kind == "ours" for one in report.tables() for row in one.rows if one.name.startswith("table-"))
    assert table(report, "delta-mtl").rows[0].cells[1].text == "nothing in common"
    told = cautions(report)
    assert "linear probe on cifar10, dtd (clip_benchmark probe, the paper's: lgssl probe)" in told
    assert f"few-shot on cifar10 ({UNVERIFIED})" in told
    paper = next(section for section in report.sections if section.name == "paper")
    assert isinstance(paper.blocks[0], Text)
    assert "Nothing in this run was measured as the paper did" in paper.blocks[0].text
    (plot,) = [one for one in report.plots() if one.name == "results"]
    assert "cifar10: linear probe accuracy (clip_benchmark)" in plot.svg
    assert "the paper's CLIP CC12M" not in plot.svg
    (listing,) = [
        block
        for section in report.sections
        for block in section.blocks
        if getattr(block, "title", "") == "How it was measured"
    ]
    assert isinstance(listing, Listing)
    assert listing.text.split("\n\n") == [
        "linear probe (clip_benchmark): AdamW",
        "few-shot: protocol of few_shot",
    ]


def test_runs_of_two_protocols_have_a_row_each(tmp_path: Path) -> None:
    runs = [new_run(tmp_path / name) for name in ("one", "two")]
    record = cell("mine", "linear_probe", {"accuracy": 0.8})
    put_cells(runs[0], [record])
    put_cells(runs[1], [with_parameters(record, probe="sklearn")])
    found = table(build_report(runs[0], others=str(runs[1].path)), "results")
    assert [[value.text for value in row.cells[1:]] for row in found.rows] == [
        ["linear probe", "accuracy", "", "80.0", "—"],
        ["linear probe (sklearn)", "accuracy", "", "—", "80.0"],
    ]


def test_sets_of_one_name_and_other_images_have_rows_and_guessing_of_their_own(tmp_path: Path) -> None:
    runs = [new_run(tmp_path / name) for name in ("one", "two")]
    record = retrieval("mine", 0.5, images=100)
    put_cells(runs[0], [record])
    put_cells(runs[1], [retrieval("mine", 0.5, images=1000)])  # these records do not tell other data, but the size does
    found = table(build_report(runs[0], others=str(runs[1].path)), "results")
    at_5 = [[value.text for value in row.cells] for row in found.rows if row.cells[2].text == "image recall@5"]
    assert at_5 == [
        ["mine (1)", "retrieval", "image recall@5", "5", "50.0", "—"],
        ["mine (2)", "retrieval", "image recall@5", "0.5", "—", "50.0"],
    ]
    assert "Numbered: of the same name" in found.note


def test_long_tail_classes_are_joined_by_name_with_the_captions_of_each_run(tmp_path: Path) -> None:
    runs = [new_run(tmp_path / name) for name in ("one", "two")]
    classes = (
        {"name": ["amber", "rose"], "recall": [0.1, 0.2], "matches": [10, 2000]},
        {"name": ["rose", "x-ray", "amber"], "recall": [0.4, None, 0.3], "matches": [4000, 5, 30]},
    )
    for run, per_class in zip(runs, classes, strict=True):
        put_cells(run, [cell("long_tail", "long_tail", {"acc1": 0.3}, per_class=per_class)])
    found = table(build_report(runs[0], others=str(runs[1].path)), "long-tail-classes")
    assert found.head[1:3] == ("training captions that name it, one", "training captions that name it, two")
    assert [[value.text for value in row.cells] for row in found.rows] == [
        ["amber", "10", "30", "10.0", "30.0"],
        ["rose", "2,000", "4,000", "20.0", "40.0"],
        ["x-ray", "—", "5", "—", "—"],
    ]
