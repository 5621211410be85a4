"""`probe` does one shard as a job, which counts, and forecasts the rest; `dry-run` and `submit` go by what it found."""

from __future__ import annotations

import dataclasses
import json
from contextlib import contextmanager

import pytest

from synthclip_hpc.dataset.columns import CHECKSUMS
from tests.synthclip_hpc.app import same_set

SMALL = ("stage=captions", "concepts.bank=emoji", "concepts.limit=40", "captions.shard_items=10")


def markers(app) -> list[str]:
    return sorted(path.name for path in (app.path / "captions/write/markers").rglob("*.json"))


def probe(app, *argv: str):
    return app("probe", *argv, "cluster=local")


def test_a_probe_does_the_first_missing_shard_and_forecasts_the_others(app, at_once):
    outcome = probe(app, *SMALL)
    assert outcome.code == 0, outcome
    assert markers(app) == ["00000.json"]
    assert "captions/write: shard 0 is done\n" in outcome.out
    assert "items/s: 10 items, busy for" in outcome.out
    assert "cost from: measured by a probe: 1 shard of this run\n" in outcome.out
    row = next(line.split() for line in outcome.out.splitlines() if line.startswith("captions/write  "))
    assert row[1:4] == ["40", "4", "3"]
    [one] = app.submissions()
    assert (one.num_elements, one.shards(), one.record["probe"]) == (1, [0], True)
    # What it leaves is as if `submit` had been interrupted: the rest follows, and is the same in the end.
    assert app("submit", *SMALL).code == 0
    assert app.submissions()[-1].shards() == [1, 2, 3]
    assert "probe" not in app.submissions()[-1].record
    calm = type(app)(app.path.with_name("calm"))
    assert calm("submit", *SMALL).code == 0
    assert same_set(app.path) == same_set(calm.path) != {}


def test_a_second_probe_measures_the_next_shard_and_the_last_one_ends_the_phase(app, at_once):
    assert probe(app, *SMALL).code == 0
    second = probe(app, *SMALL)
    assert "captions/write: shard 1 is done\n" in second.out
    assert "measured by a probe: 2 shards of this run" in second.out
    for _ in range(2):
        assert probe(app, *SMALL).code == 0
    assert (app.path / "captions/write/seal.json").exists()
    last = probe(app, *SMALL)
    assert (last.code, last.out) == (0, "captions/write: done, nothing is left to measure\n")
    assert len(app.submissions()) == 4


def test_dry_run_goes_by_the_probe(app, at_once):
    before = app("submit", *SMALL, "dry-run=true")
    assert "captions/write: plan" in before.out and "cost from: measured: template engine, one core" in before.out
    assert probe(app, *SMALL).code == 0
    first, second = (app("submit", *SMALL, "dry-run=true") for _ in range(2))
    assert "cost from: measured by a probe: 1 shard of this run\n" in first.out
    assert first.out == second.out
    other = app("submit", *SMALL, "dry-run=true", f"run={app.path}-2", f"estimate_from={app.path}")
    assert f"cost from: measured by a probe: 1 shard of {app.path}\n" in other.out


def test_a_probe_on_slurm_is_an_array_of_one_shard_with_its_seal_job(app, fake_slurm):
    outcome = app("probe", *SMALL, "cluster=slurm", "wait=false", "slurm.time_min=7")
    assert outcome.code == 0, outcome
    array, seal = fake_slurm.scripts()
    assert "#SBATCH --time=7\n" in array
    assert "#SBATCH --dependency=afterany:101\n" in seal
    [one] = app.submissions()
    assert (one.shards(), one.num_elements, one.record["probe"]) == ([0], 1, True)
    assert "shard 0 as submission 00001-captions (jobs 101, 102)" in outcome.out
    assert f"dry-run=true run={app.path}" in outcome.out


def test_a_probe_waits_until_its_jobs_are_gone_also_when_the_queue_does_not_answer(app, fake_slurm, monkeypatch):
    monkeypatch.setattr("synthclip_hpc.probe.POLL_S", {"slurm": 0.01})
    waiting = "101|101|N/A|{}|PENDING|Priority||N/A|N/A\n"
    name = "synthclip-{}-captions-write-1"

    def answers() -> None:
        row = waiting.format(name.format(app.run.run_id()))
        fake_slurm.answer("squeue", {"stdout": row}, {"exit": 1, "stderr": "no answer"}, {"stdout": ""})

    from synthclip_hpc.launch import launching

    started = launching.start_shards

    def start_shards(*given, **more):
        submission = started(*given, **more)
        answers()
        return submission

    monkeypatch.setattr(launching, "start_shards", start_shards)
    outcome = app("probe", *SMALL, "cluster=slurm")
    assert outcome.code == 1
    assert "cannot tell which jobs still run" in outcome.err
    assert "captions/write: shard 0 is not done: its job ended before it was done" in outcome.err


def test_what_went_wrong_with_the_shard_is_told(app, at_once, monkeypatch):
    from synthclip_hpc.stages import captions

    @contextmanager
    def opens(*given):
        def fails(task):
            raise RuntimeError("the engine is out of ink")

        yield fails

    monkeypatch.setattr(captions, "PHASES", tuple(dataclasses.replace(one, open=opens) for one in captions.PHASES))
    outcome = probe(app, *SMALL)
    assert outcome.code == 1
    assert "captions/write: shard 0 is not done: RuntimeError: the engine is out of ink" in outcome.err
    assert str(app.run.logs("captions")) in outcome.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "stage is missing"),
        (("stage=captions,render",), "stage=captions,render: name one stage to measure"),
        (("stage=render", "balance.target=10"), "needs captions, balance, not started"),
        (("stage=concepts",), "stage=concepts: it has no work in shards"),
        (("stage=captions", "cluster=loca"), "cluster=loca: no such cluster"),
        (("stage=captions", "captions.shard_items=0"), "captions.shard_items=0"),
    ],
)
def test_what_cannot_be_measured_is_refused_and_leaves_nothing(app, words, told):
    outcome = app("probe", *words, *(() if "cluster=loca" in words else ("cluster=local",)))
    assert outcome.code == 2
    assert told in outcome.words
    assert not app.path.exists()


def test_a_phase_at_work_is_not_probed(app, monkeypatch):
    monkeypatch.setattr("synthclip_hpc.launch.local.start_supervisor", lambda run, submissions: submissions)
    assert app("submit", *SMALL).code == 0
    outcome = probe(app, *SMALL)
    assert outcome.code == 2
    assert "captions/write is at work already, as 00001-captions" in outcome.err
    assert [json.loads((one.path / "shards.json").read_text())["shards"] for one in app.submissions()] == [[0, 1, 2, 3]]


def test_a_training_is_one_shard_and_never_done_for_a_probe(app, tmp_path):
    from tests.synthclip_hpc.training.data_sets import make_data_set

    data = make_data_set(tmp_path / "dataset", {"render": [10]})
    (data / CHECKSUMS).write_text("")
    words = ("stage=train", "train.model=resnet-tiny", "train.device=cpu", "train.batch_size=8", f"train.data={data}")
    outcome = probe(app, *words)
    assert outcome.code == 2
    assert "stage=train: it has no work in shards" in outcome.words
    assert not app.path.exists()
    assert app("submit", *words, "dry-run=true").code == 0
