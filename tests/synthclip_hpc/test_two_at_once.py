"""Two commands at the same moment: one of them starts the work, the other says so, and nothing is done twice."""

from __future__ import annotations

import subprocess
import threading
from collections import Counter

import pytest

from synthclip_hpc.submissions import all_submissions, claim
from tests.synthclip_hpc.app import App, call, command_line, environment, same_set

SMALL = ("stage=captions", "concepts.limit=20", "captions.shard_items=5", "workers=1")


def started_twice(verb: str, app: App, *argv: str) -> list[tuple[int, str, str]]:
    """Two processes at once; return code, output and errors of each."""
    words = command_line(verb, *argv, f"run={app.path}", "cluster=local")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    processes = [subprocess.Popen(words, env=environment(), **pipes) for _ in range(2)]  # type: ignore[call-overload]
    return [(process.returncode, out, err) for process in processes for out, err in [process.communicate(timeout=60)]]


@pytest.mark.parametrize("round_number", range(2))
def test_two_submits_of_a_new_run_submit_once(app, round_number):
    outcomes = started_twice("submit", app, *SMALL)
    assert [code for code, _, _ in outcomes] == [0, 0], outcomes
    assert app("submit", "stage=captions", "wait=true").code == 0
    shards = Counter(shard for one in app.submissions() for shard in one.shards())
    assert shards == dict.fromkeys(range(4), 1), [one.record for one in app.submissions()]
    assert len(app.captions()) == 20


def test_two_resumes_submit_once(app, monkeypatch):
    with monkeypatch.context() as without_workers:
        without_workers.setattr("synthclip_hpc.launch.local.start_supervisor", lambda run, ones: ones)
        assert app("submit", *SMALL).code == 0
    # The first submission was claimed by this very process and never got a supervisor: cancelled, it is over.
    assert app("cancel").code == 0
    outcomes = started_twice("resume", app)
    assert [code for code, _, _ in outcomes] == [0, 0], outcomes
    assert app("submit", "stage=captions", "wait=true").code == 0
    assert len(app.submissions()) == 2
    assert len(app.captions()) == 20


def test_of_two_claims_in_one_instant_each_number_has_one_owner(app, at_once):
    assert app("submit", *SMALL).code == 0
    barrier, claimed = threading.Barrier(8), []
    record = app.submissions()[0].record

    def race() -> None:
        barrier.wait()
        claimed.append(claim(app.run, "captions", [1, 2], record))

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [one.name for one in claimed if one is not None]
    assert len(winners) == len(set(winners)) >= 1
    assert len(claimed) == 8
    assert len(all_submissions(app.run)) == 1 + len(winners)
    assert [path for path in app.run.submissions_path.iterdir() if path.name.startswith(".")] == []


def test_two_submits_of_different_configurations_leave_one_whole_run(app):
    words = [
        command_line("submit", *SMALL, f"seed={seed}", f"run={app.path}", "cluster=local", "wait=true")
        for seed in (1, 2)
    ]
    processes = [
        subprocess.Popen(one, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
        for one in words
    ]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    codes = [process.returncode for process in processes]
    assert sorted(codes) == [0, 2], errors
    seed = app.run.load_config().seed
    winner, loser = codes.index(0), codes.index(2)
    assert seed == (1, 2)[winner]
    # Whichever look found it: the one at the start of the command, or the one when it binds its plans.
    assert ("seed: " in errors[loser] and "keeps what decides" in errors[loser]) or "seed: recorded" in errors[loser]
    calm = App(app.path.parent / "calm")
    assert call("submit", *SMALL, f"seed={seed}", f"run={calm.path}", "cluster=local", "wait=true").code == 0
    assert same_set(app.path) == same_set(calm.path)
