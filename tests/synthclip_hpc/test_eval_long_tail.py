"""Rare classes beside the number of training captions that name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthclip_hpc.config import RunConfig, with_values
from synthclip_hpc.evaluation.match_counts import captions_of, match_counts
from tests.synthclip_hpc.app import App
from tests.synthclip_hpc.training.trained_runs import ranks_here

__all__ = ["ranks_here"]


def tables(folder: Path, *groups: list[str]) -> list[Path]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths = [folder / f"{number}.parquet" for number in range(len(groups))]
    for path, captions in zip(paths, groups, strict=True):
        pq.write_table(pa.table({"position": list(range(len(captions))), "caption": captions}), path)
    return paths


def test_each_caption_counts_once_for_each_class_that_it_names(tmp_path):
    found = tables(
        tmp_path,
        ["a crystal ball on a table", "crystal and crystal", "Rose, in a vase"],
        ["a rose", "nothing of these", "chicks , rose"],
    )
    names = ["crystal", "crystal ball", "rose", "x-ray"]
    assert match_counts(found, names, "exact") == {"crystal": 2, "crystal ball": 1, "rose": 2, "x-ray": 0}
    assert match_counts(found, names, "fold") == {"crystal": 2, "crystal ball": 1, "rose": 3, "x-ray": 0}


def test_the_captions_are_those_of_the_run_where_it_has_made_and_trained_on_them(app: App, at_once):
    import pyarrow.parquet as pq

    assert captions_of(app.run, RunConfig()) is None
    outcome = app(
        "submit", "stage=captions,balance", "preset=laptop", "concepts.limit=20", "captions.per_concept=5",
        "balance.target=60", "balance.shard_items=20", "workers=1",
    )  # fmt: skip
    assert outcome.code == 0, outcome
    config = app.run.load_config()
    found = captions_of(app.run, config)
    assert found is not None and len(found) == 3 and all(path.is_file() for path in found)
    assert captions_of(app.run, with_values(config, {"train.data": "/data"})) is None
    rows = [row for path in found for row in pq.read_table(path, columns=["caption", "concept"]).to_pylist()]
    concepts = sorted({row["concept"] for row in rows})
    counts = match_counts(found, concepts, "exact")
    assert len(rows) == 60 and sum(counts.values()) >= 60 and min(counts.values()) >= 1


torch = pytest.importorskip("torch")


@pytest.mark.engines
def test_the_counts_stand_beside_each_class_of_the_runs_own_model(app: App, ranks_here, tmp_path):
    from evals.catalogue import find
    from synthclip_hpc.evaluation.results import read_cells
    from tests.evals import small_world
    from tests.synthclip_hpc.training.trained_runs import merged, train

    folder = tmp_path / "data" / "long_tail"
    names = list(find("long_tail").names)
    kinds = [number % 10 for number in range(1500)]
    pictures = [small_world.encoded(small_world.picture(number, number), "png") for number in range(10)]
    members = [
        member
        for number, kind in enumerate(kinds)
        for member in ((f"s{number:04d}.png", pictures[kind]), (f"s{number:04d}.cls", str(kind).encode()))
    ]
    small_world.write_split(folder, "test", [members])
    small_world.write_texts(folder, names, ("a {c}",))
    run = merged(app.path)
    words = ("train.epochs=1", "eval.device=cpu", "eval.loader_workers=0", "eval.templates=simple7")
    assert train(run, *words, f"eval.root={tmp_path / 'data'}", "eval.datasets=long_tail").code == 0
    outcome = run("submit", "stage=eval", "wait=true", "eval.tasks=long_tail")
    assert outcome.code == 0, outcome
    (cell,) = read_cells(run.run)
    assert (cell.task, cell.dataset) == ("long_tail", "long_tail")
    assert cell.record["per_class"]["name"] == names
    assert len(cell.record["per_class"]["matches"]) == 10
    assert all(isinstance(count, int) for count in cell.record["per_class"]["matches"])
    accuracy = cell.metrics["acc1"]
    assert accuracy is not None and f"long tail top-1 {100 * accuracy:.1f} % (chance 10.0 %)" in outcome.words
