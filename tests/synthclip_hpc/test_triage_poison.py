"""A fault that follows shards, from the first failure to the finished run: real workers on this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.synthclip_hpc.app import REPOSITORY, App, same_set, work_off

ENGINE = """
import os
from pathlib import Path

HERE = Path(__file__).parent

class Engine:
    def generate(self, batch):
        for request in batch:
            if (HERE / "cured").exists():
                continue
            if request.concept == "poison":
                raise ValueError(f"item {request.seed} of {len(batch)} cannot be tokenised")
            if request.concept == "crash":
                os.abort()
        return [f"A {request.concept} in the morning light." for request in batch]

    def close(self):
        pass

def open_engine(config, model):
    return Engine()
"""
CONCEPTS = [f"concept {n}" for n in range(40)]
CONCEPTS[17], CONCEPTS[37] = "poison", "crash"


def test_shards_that_fail_by_themselves_are_grouped_resubmitted_alone_and_done_once_they_are_mended(
    app, tmp_path, monkeypatch
):
    (tmp_path / "poisoned.py").write_text(ENGINE)
    (tmp_path / "bank.json").write_text(json.dumps(CONCEPTS))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), str(tmp_path)]))
    monkeypatch.syspath_prepend(str(tmp_path))
    words = [
        "stage=captions",
        f"concepts.bank={tmp_path / 'bank.json'}",
        "captions.engine=poisoned:open_engine",
        "captions.device=cpu",
        "captions.shard_items=4",
        "captions.batch_items=2",
        "retries.unknown=1",
        "workers=2",
        "wait=true",
    ]
    assert app("submit", *words).code == 1
    poison, crash = groups(app)
    if poison["type"] == "Crash":  # the two workers run side by side
        poison, crash = crash, poison
    assert (poison["type"], poison["count"], poison["open"], poison["follows"]) == ("ValueError", 1, [4], "neither")
    assert poison["pattern"] == "item # of # cannot be tokenised"
    assert poison["frame"].startswith("synthclip_hpc/captioning/")
    assert (crash["type"], crash["pattern"], crash["count"], crash["open"]) == ("Crash", "SIGABRT", 2, [9])
    assert (crash["follows"], crash["blamed"]) == ("shard", ["9"])

    again = app("resume", f"only=group:{poison['id']}", "wait=true")
    assert again.code == 1
    assert [one.shards() for one in app.submissions()[1:]] == [[4]]
    poison = next(group for group in groups(app) if group["type"] == "ValueError")
    assert (poison["count"], poison["follows"], poison["blamed"]) == (2, "shard", ["4"])
    assert poison["command"] == f"python -m synthclip_hpc.why shard=captions/write/4 run={app.path}"
    assert Path(poison["sample"]["log"]).name == "00002-captions_0.log"
    story = app("why", "shard=captions/write/4").out
    assert story.count("cannot be tokenised") >= 4 and "attempt 2: local2_0_0" in story

    (tmp_path / "cured").touch()
    mended = app("resume", "only=failed", "wait=true")
    assert [one.shards() for one in app.submissions()[2:]] == [[4, 9]]
    assert mended.code == 0, mended
    calm = App(tmp_path / "calm")
    monkeypatch.setattr("synthclip_hpc.launch.local.start_supervisor", work_off)
    assert calm("submit", *words).code == 0
    assert same_set(app.path) == same_set(calm.path)


def groups(app: App) -> list[dict]:
    outcome = app("failures", "json=true")
    assert outcome.code == 0, outcome
    return list(json.loads(outcome.out)["groups"])
