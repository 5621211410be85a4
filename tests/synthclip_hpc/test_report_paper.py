"""The paper's numbers: transcribed so that what the paper derives from them comes out."""

from __future__ import annotations

import pytest

from evals import catalogue
from evals.delta_mtl import delta_mtl
from synthclip_hpc.reporting.paper import PaperTable, as_printed, paper_tables
from synthclip_hpc.reporting.scores import TASKS, paper_scores, paper_sets

WITH_MEANS = [table for table in paper_tables().values() if any(column.mean_of_table for column in table.columns)]
TASK_TABLES = ("table-2", "table-3a", "table-3b", "table-3c", "table-7")


def test_all_tables_are_there_with_all_their_rows() -> None:
    sizes = {name: (len(table.rows), len(table.columns)) for name, table in paper_tables().items()}
    assert sizes == {
        "table-1a-linear-probe": (7, 10),
        "table-1a-few-shot": (7, 10),
        "table-1b-image-retrieval": (7, 4),
        "table-1b-text-retrieval": (7, 4),
        "table-1b-zero-shot": (7, 1),
        "table-1c": (5, 2),
        "table-2": (8, 6),
        "table-3a": (2, 5),
        "table-3b": (2, 5),
        "table-3c": (2, 5),
        "table-5": (7, 4),
        "table-7": (4, 5),
        "table-9": (4, 7),
        "long-tail": (2, 1),
    }
    for table in paper_tables().values():
        for row in table.rows:
            assert len(row.about) == len(table.text_columns), row
            assert len(row.values) == len(table.columns) or (table.id, row.name) == ("table-2", "CLIP CC12M"), row


@pytest.mark.parametrize("table", WITH_MEANS, ids=lambda table: table.id)
def test_the_printed_means_are_those_of_the_printed_figures(table: PaperTable) -> None:
    for row in table.rows:
        *figures, mean = row.values
        # Figures are rounded to 0.1, so their mean is known to 0.05, and is itself rounded.
        assert mean == pytest.approx(sum(figures) / len(figures), abs=0.1 + 1e-9), row.name


def test_the_printed_gains_follow_from_the_printed_means() -> None:
    means = {name: [scores.printed_means[task] for task in TASKS] for name, scores in paper_scores().items()}
    for name in ("table-1c", "table-2"):
        table = paper_tables()[name]
        for row in table.rows:
            for column, printed in zip(table.columns, row.values, strict=False):
                if column.delta_over:
                    found = delta_mtl(means[row.name], means[column.delta_over])
                    assert found == pytest.approx(printed, abs=0.1), (row.name, column.title)


@pytest.mark.parametrize("name", TASK_TABLES)
def test_a_model_has_the_same_means_in_every_table(name: str) -> None:
    table = paper_tables()[name]
    for row in table.rows:
        printed = dict(zip([column.task for column in table.columns], row.values, strict=False))
        assert {task: printed[task] for task in TASKS} == dict(paper_scores()[row.name].printed_means)


def test_spot_values() -> None:
    tables = paper_tables()
    assert tables["table-1a-linear-probe"].value("SynthCLIP 30M", "Aircraft") == 45.3
    assert tables["table-1a-few-shot"].value("CLIP CC12M", "CIFAR-10") == 80.3
    assert tables["table-1b-image-retrieval"].value("SynthCLIP 30M", "Flickr30k") == 72.9
    assert tables["table-1b-text-retrieval"].value("SynthCLIP 20M", "Flickr8k") == 81.7
    assert tables["table-1b-zero-shot"].value("SynthCLIP 8.8M", "ImageNet") == 18.5
    assert tables["table-1c"].value("SynthCLIP 3M", "over CLIP CC3M") == -5.6
    assert tables["table-2"].value("Finetuned 5 epochs 0.5M", "Text ret.") == 74.7
    assert tables["table-3c"].value("SynthCLIP 3M ViT-S", "IN 0-shot") == 8.1
    assert tables["table-5"].value("SynthCI-8.8M", "k = 50") == 56_000
    assert tables["table-7"].value("Mixed", "Few-shot") == 87.0
    assert tables["table-9"].value("SynthCLIP 30M", "-A") == 7.42
    assert tables["long-tail"].value("SynthCLIP 8.8M", "Accuracy") == 60.04


def test_an_unknown_row_or_column_is_a_key_error() -> None:
    table = paper_tables()["table-7"]
    with pytest.raises(KeyError, match="no row 'Mixd'"):
        table.value("Mixd", "Few-shot")
    with pytest.raises(KeyError, match="no column 'Fewshot'"):
        table.value("Mixed", "Fewshot")


def test_data_sets_are_called_as_in_the_catalogue() -> None:
    named = {column.dataset for table in paper_tables().values() for column in table.columns if column.dataset}
    assert named <= set(catalogue.names())
    assert {task: len(sets) for task, sets in paper_sets().items()} == {
        "linear_probe": 9,
        "few_shot": 9,
        "image_retrieval": 3,
        "text_retrieval": 3,
        "zero_shot": 1,
    }


def test_figures_keep_the_decimals_of_the_paper() -> None:
    assert [as_printed(value) for value in (34.7, 27.0, 8.32, 44.18, -3.1)] == ["34.7", "27.0", "8.32", "44.18", "-3.1"]
