"""On a real Slurm: a fault of one node and a fault of some shards, at once, are told apart, and both are mended."""

from __future__ import annotations

import json

import pytest

from slurm.onemachine import Lab
from tests.synthclip_hpc.app import App
from tests.synthclip_hpc.faulty_cluster import CONCEPTS, cure, submit_faulty


@pytest.mark.slurm
def test_a_bad_node_and_a_bad_shard_are_told_apart_left_alone_and_the_run_completes(
    slurm_lab: Lab, app: App, tmp_path, monkeypatch
) -> None:
    outcome = submit_faulty(slurm_lab, app, tmp_path, monkeypatch)
    assert outcome.code == 1, outcome
    found = {group["type"]: group for group in groups(app)}
    node = found["RuntimeError"]
    assert (node["count"], node["nodes"], node["pattern"]) == (4, {"n2": 4}, "CUDA error # at <hex>")
    assert (node["follows"], node["blamed"]) == ("node", ["n2"])
    assert found["ValueError"]["follows"] == "neither"  # tried once
    assert node["command"].startswith(f"python -m synthclip_hpc.resume only=group:{node['id']} exclude=n2 ")

    again = app("resume", f"only=group:{node['id']}", "exclude=n2", "cluster=auto", "wait=true")
    assert f"4 of {len(CONCEPTS) // 2} shards" in again.out
    app("resume", "exclude=n2", "cluster=auto", "wait=true")
    found = {group["type"]: group for group in groups(app)}
    assert found["RuntimeError"]["nodes"] == {"n2": 4}  # nothing went there any more
    poison = found["ValueError"]
    assert (poison["follows"], sorted(poison["open"])) == ("shard", [4, 5])
    story = app("why", f"shard=captions/{poison['open'][0]}").out
    assert "which left alone n2" in story and "cannot be tokenised" in story

    cure(tmp_path, "shards")
    assert app("resume", "only=failed", "exclude=n2", "cluster=auto", "wait=true").code == 0
    assert app.submissions()[-1].shards() == [4, 5]
    assert app.status()["stages"]["captions"]["state"] == "done"


def groups(app: App) -> list[dict]:
    outcome = app("failures", "json=true")
    assert outcome.code == 0, outcome
    return list(json.loads(outcome.out)["groups"])
