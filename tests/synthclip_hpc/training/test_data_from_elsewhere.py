"""`train.data` and `train.mix`: folders of tars are read and become one data set, a finished one is taken as it is."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from sharding.inputs import load_inputs
from sharding.seal import Seal, load_seal
from synthclip_hpc.config import RunConfig, with_values
from synthclip_hpc.dataset.columns import CHECKSUMS
from synthclip_hpc.dataset.index import DatasetIndex
from synthclip_hpc.errors import UserError
from synthclip_hpc.launch.chain import with_upstream
from synthclip_hpc.stages.train.index import check_unchanged
from synthclip_hpc.stages.train.mix import source_names
from synthclip_hpc.training.data.training_data import open_training_data
from tests.synthclip_hpc.app import App, Outcome, tree
from tests.synthclip_hpc.dataset.rendered import Member, balanced, sample, write_tar
from tests.synthclip_hpc.training.data_sets import caption, make_data_set, picture
from tests.synthclip_hpc.training.trained_runs import ranks_here, train

__all__ = ["ranks_here"]
SETTINGS = ("train.model=resnet-tiny", "train.device=cpu", "train.batch_size=8")


@pytest.fixture
def no_training(at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The phases before `fit` are worked off at once; what trains says that it was called, and fails."""

    def lead(*given: object) -> int:
        raise UserError("the training would begin")

    monkeypatch.setattr("synthclip_hpc.stages.train.fit.lead", lead)


def make_tars(folder: Path, sizes: list[int], first: int = 0, more: list[Member] | None = None) -> Path:
    """Write tars of these numbers of samples, which are pictures `first` and following; `more` is in the last one."""
    number = first
    for tar, size in enumerate(sizes):
        members = [one for n in range(number, number + size) for one in sample(f"{n:06d}", picture(n), caption(n))]
        write_tar(folder / f"{tar:05d}.tar", members + (more or [] if tar == len(sizes) - 1 else []))
        number += size
    return folder


def finished(folder: Path, **sources: list[int]) -> Path:
    """Write a data set as the stage merge leaves it, as far as training looks at it."""
    make_data_set(folder, sources)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    sums = (f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    (folder / CHECKSUMS).write_text("".join(sums))
    return folder


def submit(app: App, *words: str) -> Outcome:
    outcome = app("submit", "stage=train", *SETTINGS, *words)
    assert outcome.code == 0, outcome
    return outcome


def phases(app: App) -> list[str]:
    """The phases that were submitted, in order."""
    return [one.phase for one in app.submissions()]


def seal_of(app: App, phase: str) -> Seal:
    seal = load_seal(app.run.phase("train", phase))
    assert seal is not None
    return seal


def told(app: App) -> str:
    return json.dumps(app.status()["stages"]["train"])


BROKEN = [("x1.jpg", b"no image"), ("x1.txt", b"a caption"), ("x2.jpg", picture(1)), ("x3.txt", b"no image at all")]


def test_tars_are_read_and_become_a_data_set_with_caps_and_counted_rejects(app, no_training, tmp_path):
    a = make_tars(tmp_path / "a/photos", [5, 4], more=BROKEN)
    b = make_tars(tmp_path / "b/photos", [4, 4, 4], first=100)
    outcome = submit(app, f"train.data={a},{b}:6", "merge.task_shards=2")
    assert phases(app) == ["index", "gather", "fit"]
    # Four tars: of the capped source the third is not needed.
    assert seal_of(app, "index").counts.done == 4
    assert len(seal_of(app, "index").shards) == 2
    folder = app.path / "train/data"
    with DatasetIndex.open(folder) as index:
        found = [index.read(number) for number in range(len(index))]
        rows = index.rows(range(len(index))).to_pylist()
    assert [one.txt for one in found] == [caption(n) for n in (*range(9), *range(100, 106))]
    assert [one.image for one in found] == [picture(n) for n in (*range(9), *range(100, 106))]
    assert [row["source"] for row in rows] == ["photos"] * 9 + ["photos-2"] * 6
    assert (folder / "shards/00001.tar").samefile(a / "00001.tar")
    assert [(one.name, one.sizes.tolist()) for one in open_training_data([folder]).shards()] == [
        ("photos", [5, 4]),
        ("photos-2", [4, 2]),
    ]
    import pyarrow.parquet as pq

    rejects = pq.read_table(folder / "rejects.parquet").to_pylist()
    assert {row["key"]: row["reject_reason"] for row in rejects} == {
        "x1": "damaged_image",
        "x2": "no_caption",
        "x3": "no_image",
    }
    assert load_inputs(app.run.phase("train", "fit")) == {
        f"train/{name}": seal_of(app, name).hash for name in ("index", "gather")
    }
    assert "the training would begin" in told(app), outcome
    assert "15 samples in" in app("resume").out
    assert app("verify", "stage=train").code == 0


def test_a_second_attempt_makes_the_same_folder_and_needs_the_tars_no_more(app, no_training, tmp_path):
    data = make_tars(tmp_path / "photos", [5, 4])
    submit(app, f"train.data={data}")
    folder = app.path / "train/data"
    before = tree(folder)
    (folder / "shards/00001.tar").unlink()
    outcome = app("verify")
    assert (outcome.code, "lacks 1 of 5 files" in outcome.out) == (1, True), outcome
    assert app("repair").code == 0
    assert app("resume").code == 0
    assert tree(folder) == before
    shutil.rmtree(data)
    assert app("resume").code == 0
    assert app("verify").code == 0
    assert tree(folder) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("nowhere", "train.data=nowhere: there is no such folder"),
        ("photos:0", "train.data=photos:0: the cap '0' is no whole number"),
        ("run", "train.data=run: this is a run; name its finished data set, run/dataset"),
        ("bare", "an index without checksums.sha256"),
    ],
)
def test_data_that_are_not_there_are_refused_by_their_own_key(app, tmp_path, words, message):
    make_tars(tmp_path / "photos", [2])
    make_data_set(tmp_path / "bare", {"render": [3]})
    app.run.create(RunConfig(), {})
    outcome = app("submit", "stage=train", *SETTINGS, f"train.data={words}")
    assert (outcome.code, message in outcome.words.replace(f"{tmp_path}/", "")) == (2, True), outcome
    assert app.submissions() == []


def test_tars_without_one_usable_sample_are_told_as_such(app, no_training, tmp_path):
    write_tar(tmp_path / "photos/0.tar", BROKEN)
    submit(app, f"train.data={tmp_path}/photos")
    assert "none of its samples has an image that is whole and a caption" in told(app)
    assert not (app.path / "train/data").exists()


def test_tars_that_changed_are_refused_with_both_plans(app, no_training, tmp_path):
    data = make_tars(tmp_path / "photos", [5, 4])
    submit(app, f"train.data={data}")
    make_tars(data, [5, 5])
    outcome = app("resume")
    assert outcome.code == 2
    assert "train/index was started with plan" in outcome.words and "sources" in outcome.words, outcome


def test_a_finished_data_set_needs_no_job_before_the_training(app, no_training, tmp_path):
    data = finished(tmp_path / "other/dataset", render=[10, 8], cc12m=[5])
    outcome = submit(app, f"train.data={data}")
    assert "train/index: nothing to do" in outcome.out and "train/gather: nothing to do" in outcome.out
    assert phases(app) == ["fit"]
    assert not (app.path / "train/data").exists()
    assert not (app.path / "concepts").exists()
    seal = seal_of(app, "index")
    assert len(seal.shards) == 0
    assert (load_inputs(app.run.phase("train", "fit")) or {})["train/index"] == seal.hash
    assert app("resume").code == 0
    assert seal_of(app, "index").hash == seal.hash
    outcome = app("verify")
    assert (outcome.code, "train/index: 0 of 0 shards done, 0 problems" in outcome.out) == (0, True), outcome
    stage = app.status()["stages"]["train"]
    assert [(one["name"], one["state"]) for one in stage["phases"]][:2] == [("index", "done"), ("gather", "done")]
    assert (stage["shards_total"], stage["items_total"]) == (1, 40)


def test_a_finished_data_set_that_changed_is_refused_with_both_hashes(app, no_training, tmp_path):
    data = finished(tmp_path / "dataset", render=[10])
    submit(app, f"train.data={data}")
    hashes = [hashlib.sha256((data / CHECKSUMS).read_bytes()).hexdigest()]
    config = app.run.load_config()
    check_unchanged(config, app.run)
    shutil.rmtree(data)
    finished(data, render=[9])
    hashes.append(hashlib.sha256((data / CHECKSUMS).read_bytes()).hexdigest())
    outcome = app("resume")
    assert outcome.code == 2
    assert [one in outcome.words for one in hashes] == [True, True], outcome
    with pytest.raises(UserError, match=f"planned {hashes[0]}, found {hashes[1]}"):
        check_unchanged(config, app.run)
    shutil.rmtree(data)
    with pytest.raises(UserError, match=f"planned {hashes[0]}, found no index"):
        check_unchanged(config, app.run)


def test_a_finished_data_set_may_lie_elsewhere_by_now(app, no_training, tmp_path):
    data = finished(tmp_path / "dataset", render=[10])
    submit(app, f"train.data={data}")
    data.rename(tmp_path / "moved")
    outcome = app("resume", f"train.data={tmp_path}/moved")
    assert outcome.code == 0, outcome
    check_unchanged(app.run.load_config(), app.run)


def test_a_relative_path_is_kept_as_an_absolute_one(app, no_training, tmp_path):
    make_tars(tmp_path / "photos", [5])
    finished(tmp_path / "dataset", render=[4])
    submit(app, "train.data=photos:3, dataset")
    assert app.run.load_config().train.data == f"{tmp_path}/photos:3,{tmp_path}/dataset"
    # Beside others a finished data set counts by its tars.
    with DatasetIndex.open(app.path / "train/data") as index:
        assert [row["source"] for row in index.rows(range(7)).to_pylist()] == ["photos"] * 3 + ["dataset"] * 4


def test_dry_run_tells_of_phases_without_work_and_writes_nothing(app, tmp_path):
    data = finished(tmp_path / "dataset", render=[10])
    outcome = app("submit", "stage=train", *SETTINGS, f"train.data={data}", "dry-run=true")
    assert outcome.code == 0, outcome
    rows = {words[0]: words[1:6] for line in outcome.out.splitlines() if (words := line.split())}
    assert rows["train/index"] == rows["train/gather"] == ["0"] * 5
    assert rows["train/fit"][:4] == ["40", "1", "1", "1"]
    assert not app.path.exists()


GANG = ("cluster=slurm", "slurm.nodes=2", "slurm.cpus=7", "slurm.partition=gpu")


def test_jobs_before_the_training_are_not_of_its_size(app, fake_slurm, tmp_path):
    (tmp_path / "p.toml").write_text(
        "[default]\ntime_min = 9\n[stage.merge]\ncpus = 3\nelements = 2\n[stage.train]\nnodes = 8\n"
    )
    data = make_tars(tmp_path / "photos", [2, 2, 2])
    words = (*GANG, f"slurm.profile={tmp_path}/p.toml", f"train.data={data}", "merge.task_shards=1")
    submit(app, *words)
    assert phases(app) == ["index", "gather", "fit"]
    index, seal, gather, _, fit, _ = fake_slurm.scripts()
    for script in (index, gather):
        assert "#SBATCH --partition=gpu\n" in script and "#SBATCH --cpus-per-task=3\n" in script
        assert "#SBATCH --nodes=1\n" in script or "--nodes" not in script
    assert "#SBATCH --array=0-1\n" in index
    assert "#SBATCH --nodes=2\n" in fit and "#SBATCH --cpus-per-task=7\n" in fit
    assert "--nodes=2" not in seal


def test_phases_without_work_ask_slurm_for_nothing(app, fake_slurm, tmp_path):
    data = finished(tmp_path / "dataset", render=[10])
    submit(app, *GANG, f"train.data={data}")
    assert phases(app) == ["fit"]
    fit, seal = fake_slurm.scripts()
    assert "#SBATCH --nodes=2\n" in fit and "afterany" in seal
    assert "#SBATCH --dependency" not in fit
    assert app("resume", "cluster=slurm").code == 0
    assert set(phases(app)) == {"fit"}


def test_what_comes_before_the_training_depends_on_its_data(app, tmp_path):
    data = finished(tmp_path / "dataset", render=[10])
    elsewhere = with_values(RunConfig(), {"train.data": str(data)})
    assert with_upstream(app.run, elsewhere, ["train"], add=False) == ["train"]
    assert with_upstream(app.run, elsewhere, ["captions", "train"], add=False) == ["concepts", "captions", "train"]
    with pytest.raises(UserError, match="needs captions, balance, not started"):
        with_upstream(app.run, elsewhere, ["render", "train"], add=False)
    with pytest.raises(UserError, match="needs captions, balance, render, merge, not started"):
        with_upstream(app.run, RunConfig(), ["train"], add=False)


def test_a_source_that_a_mix_does_not_know_is_refused_before_anything_is_submitted(app, at_once, tmp_path):
    data = finished(tmp_path / "dataset", render=[10], cc12m=[5])
    tars = make_tars(tmp_path / "photos", [4])
    for words, known in (
        ([f"train.data={data}"], "render, cc12m"),
        ([f"train.data={tars},{tars}"], "photos, photos-2"),
    ):
        outcome = app("submit", "stage=train", *SETTINGS, *words, "train.mix=cc13m:8")
        assert outcome.code == 2
        assert "train.mix=cc13m:8: the data set has no such source" in outcome.words, outcome
        assert f"It has: {known}" in outcome.words, outcome
    assert not app.path.exists()


def test_the_mix_of_a_merged_run_names_its_own_images_and_its_sources(app, at_once, tmp_path):
    tars = make_tars(tmp_path / "cc12m", [4])
    balanced(app)
    words = (*SETTINGS, "upstream=true", f"merge.sources={tars}:3,{tmp_path}/render")
    make_tars(tmp_path / "render", [2])
    outcome = app("submit", "stage=train", *words, "train.mix=render:8,cc13m:8", "dry-run=true")
    assert outcome.code == 2
    assert "It has: render, cc12m, render-2" in outcome.words, outcome
    outcome = app("submit", "stage=train", *words, "train.mix=render:8,cc12m:8", "dry-run=true")
    assert outcome.code == 0, outcome


def test_the_names_for_a_mix_are_those_of_the_data_that_are_trained_on(tmp_path):
    data = finished(tmp_path / "dataset", render=[10, 8], cc12m=[5])
    config = with_values(RunConfig(), {"train.data": str(data)})
    assert source_names(config) == [one.name for one in open_training_data([data]).shards()]


def test_two_folders_are_trained_on_in_given_parts(app, ranks_here, tmp_path):
    a = make_tars(tmp_path / "real", [9, 8], more=BROKEN)
    b = make_tars(tmp_path / "drawn", [12], first=100)
    outcome = train(app, f"train.data={a},{b}:10", "train.mix=real:4,drawn:20", "train.epochs=2")
    assert outcome.code == 0, outcome
    assert app.status()["stages"]["train"]["state"] == "done"
    found = json.loads((app.path / "train/outcome.json").read_bytes())
    assert (found["step"], found["samples"], found["broken_samples"]) == (6, 48, 0)
    assert (app.path / "train/export/open_clip_model.safetensors").is_file()
    assert app("verify").code == 0
    plan = json.loads((app.run.phase("train", "index").plan_path).read_bytes())
    assert [(one["name"], one["cap"], one["tars"]) for one in plan["identity"]["sources"]] == [
        ("real", None, 2),
        ("drawn", 10, 1),
    ]
