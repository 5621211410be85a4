"""`failures`, `why`, and `resume` with `only=` and `exclude=`, on runs whose journals were written by hand."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from sharding.journal import Journal
from sharding.plan import load_plan
from synthclip_hpc.log_files import log_of
from synthclip_hpc.monitor.failures import group_id
from synthclip_hpc.monitor.fingerprint import Fingerprint
from synthclip_hpc.monitor.lives import Life
from synthclip_hpc.monitor.story import Story
from synthclip_hpc.pipeline import find_phase
from synthclip_hpc.processes import identify
from synthclip_hpc.submissions import update
from synthclip_hpc.triage.choice import shown
from synthclip_hpc.triage.reading import log_path
from synthclip_hpc.work import Bench, bound_inputs, work
from tests.synthclip_hpc.app import App, tree
from tests.synthclip_hpc.test_slurm_submission import row

# 20 shards with one caption each, 4 elements: element e has the shards e, e + 4, ...
SMALL = ("stage=captions", "concepts.limit=20", "captions.shard_items=1", "cluster=slurm", "slurm.elements=4")
PHASE = ("captions", "write")
CUDA = group_id("captions/write", Fingerprint("CudaError", "synthclip_hpc/x.py:draw", "device # lost at <hex>"))
EMPTY = group_id("captions/write", Fingerprint("ValueError", "synthclip_hpc/x.py:draw", "caption # is empty"))
MODEL = group_id("captions/write", Fingerprint("UserError", "", "no model in <path>"))


class Recorded:
    """A Slurm run's journals, written line by line."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.clock = time.time() - 3600

    def tell(self, attempt: str, event: str, /, **fields: Any) -> None:
        self.clock += 1
        path = self.app.run.phase(*PHASE).journal_path(attempt)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps({"event": event, "time": self.clock, **fields}) + "\n")

    def begin(self, attempt: str, node: str, submission: str = "00001-captions", **more: Any) -> None:
        job, index, restart = attempt.split("_")
        who = {"attempt": attempt, "job": job, "index": int(index), "restart": int(restart), "element": int(index)}
        self.tell(attempt, "start", node=node, submission=submission, **(who | more))

    def fail(self, attempt: str, shard: int, kind: str, message: str) -> None:
        trace = f'  File "/env/site-packages/synthclip_hpc/x.py", line 7, in draw\n    f()\n{kind}: {message}\n'
        self.tell(attempt, "shard_start", shard=shard, resumed_items=0)
        self.tell(attempt, "shard_failed", shard=shard, type=kind, message=message, where="a.py:b", traceback=trace)

    def finish(self, attempt: str, *shards: int) -> None:
        """Do these shards for good: with outputs and markers."""
        directory, phase = self.app.run.phase(*PHASE), find_phase(*PHASE)
        plan = load_plan(directory)
        assert plan is not None
        config = self.app.run.load_config()
        inputs = bound_inputs(self.app.run, phase, config)
        journal = Journal(directory.journal_path(attempt))
        assert work(Bench(self.app.run, phase, plan, config, attempt, journal, inputs), list(shards), 0) == []
        journal.close()


@pytest.fixture
def recorded(app, fake_slurm) -> Recorded:
    """Node n1 fails all of element 1's shards, shard 2 fails for itself, element 3 fails as a whole; 0 has finished."""
    assert app("submit", *SMALL).code == 0
    run = Recorded(app)
    for element, node in ((0, "n0"), (1, "n1"), (2, "n2"), (3, "n3")):
        run.begin(f"101_{element}_0", node)
    run.finish("101_0_0", 0, 4, 8, 12, 16)
    run.tell("101_0_0", "end", reason="completed", signal=None)
    for shard in (1, 5, 9, 13):
        run.fail("101_1_0", shard, "CudaError", f"device 0 lost at 0x7f{shard:02d}")
    run.tell("101_1_0", "end", reason="failed", signal=None)
    run.fail("101_2_0", 2, "ValueError", "caption 77 is empty")
    run.finish("101_2_0", 6, 10, 14, 18)
    run.tell("101_2_0", "end", reason="failed", signal=None)
    run.tell("101_3_0", "end", reason="error", type="UserError", message="no model in /models/x", traceback="")
    update(app.submissions()[0], state="ended")
    return run


@pytest.fixture
def told(recorded) -> dict[str, Any]:
    outcome = recorded.app("failures", "json=true")
    assert outcome.code == 0, outcome
    return dict(json.loads(outcome.out))


def test_failures_are_grouped_and_say_whom_they_follow(told):
    assert told["schema"] == 1
    cuda, empty, model = told["groups"]
    assert [group["id"] for group in told["groups"]] == [CUDA, EMPTY, MODEL]
    assert (cuda["type"], cuda["frame"], cuda["pattern"]) == (
        "CudaError",
        "synthclip_hpc/x.py:draw",
        "device # lost at <hex>",
    )
    assert (cuda["phase"], cuda["count"], cuda["nodes"]) == ("captions/write", 4, {"n1": 4})
    assert (cuda["shards"], cuda["open"], cuda["elements"]) == ([1, 5, 9, 13], [1, 5, 9, 13], ["00001-captions/1"])
    assert (cuda["follows"], cuda["blamed"]) == ("node", ["n1"])
    assert (empty["follows"], empty["shards"], empty["sample"]["message"]) == ("neither", [2], "caption 77 is empty")
    # An attempt that failed as a whole concerns all that it was given.
    assert (model["count"], model["pattern"], model["shards"]) == (1, "no model in <path>", [3, 7, 11, 15, 19])
    assert told["blamed_nodes"] == {"n1": [CUDA]}


def test_failures_end_with_what_to_type(recorded):
    log = recorded.app.run.logs("captions") / "00001-captions_101_1.log"
    log.write_text("words\n")
    said = recorded.app("failures").out
    at = f"run={recorded.app.path}"
    assert f"next: python -m synthclip_hpc.resume only=group:{CUDA} exclude=n1 {at}\n" in said
    assert f"next: python -m synthclip_hpc.resume only=group:{EMPTY} {at}\n" in said
    assert f"nodes to leave alone: n1 (group {CUDA})\n  python -m synthclip_hpc.resume exclude=n1 {at}\n" in said
    assert f"log: {log} (attempt 101_1_0)" in said
    assert "follows the node n1: on n1 4 of 4 tries failed, elsewhere 0 of 9" in said


def test_a_group_whose_shards_are_done_by_now_asks_for_nothing(recorded):
    recorded.begin("201_0_0", "n0", "00001-captions")
    recorded.finish("201_0_0", 1, 5, 9, 13)
    said = recorded.app("failures").out
    assert "shards: 1, 5, 9, 13 (all done by now)" in said
    assert "only=group:" + CUDA not in said and "nodes to leave alone" not in said
    refused = recorded.app("resume", "cluster=slurm", f"only=group:{CUDA}")
    assert refused.code == 2
    assert "none of this group's shards of captions/write is missing any more" in refused.err


def test_an_attempt_that_slurm_ended_for_want_of_memory_is_a_failure_of_the_shard_in_its_hands(recorded, fake_slurm):
    path = recorded.app.run.phase(*PHASE).journal_path("101_3_1")
    start = {"event": "start", "time": recorded.clock - 900, "job": "101", "index": 3, "restart": 1, "element": 3}
    begun = {"event": "shard_start", "time": recorded.clock - 800, "shard": 7, "resumed_items": 0}
    lines = [start | {"node": "n3", "submission": "00001-captions"}, begun]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    end = int(recorded.clock - 700)
    fake_slurm.answer("sacct", {"stdout": f"101_3|OUT_OF_MEMORY|{end - 200}|{end}|n3|0:125\n"})
    groups = json.loads(recorded.app("failures", "json=true").out)["groups"]
    # Last in spite of its time: without accounting's answer it is not there.
    assert [group["type"] for group in groups] == ["CudaError", "ValueError", "UserError", "Crash"]
    assert (groups[3]["pattern"], groups[3]["shards"], groups[3]["nodes"]) == ("OUT_OF_MEMORY", [7], {"n3": 1})
    assert [words[words.index("-j") + 1] for words in fake_slurm.arguments("sacct")] == ["101_3"]
    assert recorded.app("resume", "cluster=slurm", f"only=group:{groups[3]['id']}").code == 0
    assert resubmitted(recorded.app) == [7]


def test_a_line_of_another_shape_hides_nothing_of_the_rest(recorded):
    before = recorded.app("failures").out
    path = recorded.app.run.phase(*PHASE).journal_path("101_2_0")
    odd = [
        {"event": "note", "time": None},
        {"event": "shard_start", "time": None, "shard": 10, "resumed_items": 0},
        {"event": "shard_start", "time": recorded.clock, "shard": "x", "resumed_items": 0},
        {"event": "gave_up", "time": recorded.clock, "element": [], "cause": "unknown", "count": 2, "limit": 1},
        {"event": "start", "time": recorded.clock, "job": "101", "index": {}, "restart": 0, "element": []},
    ]
    with path.open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in odd)
    assert recorded.app("failures").out == before
    assert recorded.app.status()["stages"]["captions"]["events_unread"] == len(odd)
    for words in (("why", "shard=captions/10"), ("status", "once=true"), ("clean", "dry-run=true")):
        assert recorded.app(*words).code == 0, words


def test_the_log_of_a_refused_seal_is_that_of_the_seal_job(recorded):
    refused = {"reason": "incomplete", "num_missing": 0, "missing": [], "message": "2 rows too many"}
    recorded.tell("102_seal_0", "start", job="102", index="seal", role="seal", submission="00001-captions", node="n0")
    recorded.tell("102_seal_0", "end", **refused)
    log = recorded.app.run.logs("captions") / "00001-captions_seal_102.log"
    log.write_text("words\n")
    groups = json.loads(recorded.app("failures", "json=true").out)["groups"]
    assert [group["sample"]["log"] for group in groups] == [None, None, None, str(log)]


def test_logs_are_found_by_their_recorded_name_in_the_runs_own_folder_and_a_chains_by_its_first(app, at_once):
    words = ("stage=captions,balance", "concepts.bank=emoji", "concepts.limit=40", "balance.target=20", "cluster=local")
    assert app("submit", *words).code == 0
    first, second = app.submissions()[0], app.submissions()[-1]
    for one in (first, second):
        update(one, supervisor=identify(os.getpid()))
    known = app.submissions()
    logs = app.run.logs(first.stage)

    def found(attempt: str, submission: str, element: int | None = None) -> Path | None:
        return log_path(app.run, Life(Story(attempt, submission=submission), element=element), known)

    assert found("local1_0_0", first.name, 0) == logs / f"{first.name}_0.log"
    assert found("local2_seal_0", second.name) == logs / f"{first.name}_supervisor.log"
    assert found("local1_0_0", "") is None
    slurm = update(first, cluster="slurm", log=f"/where/it/was/{first.name}_of_%A_at_%a.log")
    made = log_of(app.run, slurm, role="work", job="101", index=3, element=3)
    assert made == logs / f"{first.name}_of_101_at_3.log"


def test_a_run_without_failures_says_so_and_no_run_is_a_mistake(app, at_once):
    assert app("submit", "stage=captions", "concepts.limit=5").code == 0
    outcome = app("failures")
    assert (outcome.code, outcome.out.startswith(f"run={app.path}: no failures in its journals")) == (0, True)
    assert json.loads(app("failures", "--json").out)["groups"] == []
    assert app("failures", f"run={app.path}-x").code == 2


def resubmitted(app: App) -> list[int]:
    [_, again] = app.submissions()
    return again.shards()


@pytest.mark.parametrize(
    ("only", "shards"),
    [
        (f"group:{CUDA}", [1, 5, 9, 13]),
        (f"group:{EMPTY}", [2]),
        (f"group:{MODEL}", [3, 7, 11, 15, 19]),
        ("failed", [1, 2, 3, 5, 7, 9, 11, 13, 15, 19]),  # not 17: its element had ended before it came to it
        ("shards:7,9-11,1", [1, 7, 9, 11]),
        ("shards:captions/17", [17]),
        ("shards:captions/write/2-3", [2, 3]),
    ],
)
def test_only_takes_these_shards_and_leaves_the_others_open(recorded, only, shards):
    if only == "shards:7,9-11,1":
        recorded.fail("101_0_0", 10, "ValueError", "reopened")
        recorded.app.run.phase(*PHASE).marker_path(10).unlink()
        shards = [1, 7, 9, 10, 11]
    outcome = recorded.app("resume", "cluster=slurm", f"only={only}")
    assert outcome.code == 0, outcome
    assert resubmitted(recorded.app) == shards
    num_missing = 12 if 10 in shards else 11
    assert f"captions/write: {num_missing - len(shards)} of its shards left open" in outcome.out
    assert f"{len(shards)} of 20 shards in {min(4, len(shards))} elements" in outcome.out


def test_the_last_attempt_decides_whether_a_shard_has_failed(recorded):
    # Shard 2 was tried again and interrupted; 3 has failed anew, this time by itself.
    app = recorded.app
    assert app("resume", "cluster=slurm", "only=shards:2-3").code == 0
    again = app.submissions()[1].name
    recorded.begin("103_0_0", "n0", again)
    recorded.tell("103_0_0", "shard_start", shard=2, resumed_items=0)
    recorded.begin("103_1_0", "n3", again)
    recorded.fail("103_1_0", 3, "ValueError", "caption 78 is empty")
    recorded.tell("103_1_0", "end", reason="failed", signal=None)
    update(app.submissions()[1], state="ended")
    assert app("resume", "cluster=slurm", "only=failed").code == 0
    assert app.submissions()[2].shards() == [1, 3, 5, 7, 9, 11, 13, 15, 19]


REFUSED = [
    ("group:1", f"no such group; the run has the groups {CUDA}, {EMPTY}, {MODEL}; see: python -m"),
    (f"group:{CUDA[:-1]}", "no such group"),
    ("group:", "write only=failed, group:ID"),
    ("", "write only=failed, group:ID"),
    ("all", "write only=failed, group:ID"),
    ("shards:0", "of captions/write already done: 0;"),
    ("shards:0-8", "of captions/write already done: 0,4,6,8;"),
    ("shards:20", "captions/write has the shards 0 to 19, not 20"),
    ("shards:0-99999999999", "captions/write has the shards 0 to 19, not 0-99999999999"),
    ("shards:9-3", "'9-3' ends before it begins"),
    ("shards:1,,2", "'1,,2' is no list of shards"),
    ("shards:-1", "'-1' is no list of shards"),
    ("shards:render/1", "'render' names no phases of this run; name one of concepts/read, captions/write"),
    ("shards:concepts/read/0", "of concepts/read already done: 0;"),
]


def test_what_cannot_be_taken_is_refused_and_nothing_is_submitted(recorded):
    before = tree(recorded.app.run.submissions_path)
    for only, words in REFUSED:
        outcome = recorded.app("resume", "cluster=slurm", f"only={only}")
        assert (outcome.code, outcome.out) == (2, ""), only
        assert f"only={only}: " in outcome.err and words in outcome.err
    assert tree(recorded.app.run.submissions_path) == before


def test_shards_at_work_are_not_submitted_again(recorded, fake_slurm):
    app = recorded.app
    update(app.submissions()[0], state="submitted")
    fake_slurm.answer("squeue", {"stdout": row("101", app.submissions()[0].job_names[0], "RUNNING", index=1)})
    outcome = app("resume", "cluster=slurm", f"only=group:{EMPTY}")
    assert outcome.code == 2
    assert "captions/write is at work as 00001-captions" in outcome.err
    assert len(app.submissions()) == 1


def test_nothing_failed_is_nothing_to_do(app, fake_slurm):
    assert app("submit", *SMALL).code == 0
    update(app.submissions()[0], state="ended")
    outcome = app("resume", "cluster=slurm", "only=failed")
    assert (outcome.code, len(app.submissions())) == (0, 1)
    assert "no missing shard's last attempt ended with an error of its own; nothing to do" in outcome.out


def test_a_chain_does_not_go_on_behind_shards_that_stay_open(app, fake_slurm):
    words = [word for word in SMALL if not word.startswith("stage=")]
    assert app("submit", "stage=captions,balance", "concepts.bank=emoji", "balance.target=10", *words).code == 0
    for one in app.submissions():
        update(one, state="ended")
    before = len(app.submissions())
    outcome = app("resume", "cluster=slurm", "only=shards:3-4")
    assert outcome.code == 0, outcome
    assert [one.stage for one in app.submissions()[before:]] == ["captions"]
    assert "captions/write: 18 of its shards left open, with what builds on them, for resume" in outcome.out
    # Nor behind a phase all of whose shards were named: those of the phases behind it were not.
    update(app.submissions()[-1], state="ended")
    outcome = app("resume", "cluster=slurm", "only=shards:0-19")
    assert "balance/match: left open (missing: 1 of 1 shards)" in outcome.out
    assert [one.stage for one in app.submissions()[before + 1 :]] == ["captions"]


def excluded(script: str) -> str | None:
    match = re.search(r"^#SBATCH --exclude=(.*)$", script, re.MULTILINE)
    return match[1].strip("'") if match else None  # submitit quotes what a shell would expand


def test_excluded_nodes_are_added_to_the_profiles_recorded_and_forgotten_by_the_next_command(recorded, fake_slurm):
    app = recorded.app
    assert app("resume", "cluster=slurm", f"only=group:{CUDA}", "exclude=n1, n[4-7,9]", "slurm.exclude=bad1").code == 0
    array, seal = fake_slurm.scripts()[2:]
    assert (excluded(array), excluded(seal)) == ("bad1,n1,n[4-7,9]", "bad1,n1,n[4-7,9]")
    assert app.submissions()[1].config.slurm.exclude_also == "n1,n[4-7,9]"
    assert app.run.load_config().slurm.exclude_also is None
    update(app.submissions()[1], state="ended")
    assert app("resume", "cluster=slurm", f"only=group:{EMPTY}").code == 0
    assert [excluded(script) for script in fake_slurm.scripts()[4:]] == ["bad1", "bad1"]


def test_exclude_alone_goes_on_with_everything_that_is_missing(recorded, fake_slurm):
    assert recorded.app("resume", "cluster=slurm", "exclude=n1").code == 0
    assert resubmitted(recorded.app) == [1, 2, 3, 5, 7, 9, 11, 13, 15, 17, 19]
    assert [excluded(script) for script in fake_slurm.scripts()[2:]] == ["n1", "n1"]


def test_a_dry_run_counts_what_only_takes_and_shows_the_excluded_nodes(recorded, fake_slurm):
    before = tree(recorded.app.path)
    outcome = recorded.app("resume", "cluster=slurm", f"only=group:{CUDA}", "exclude=n1", "dry-run=true")
    assert outcome.code == 0, outcome
    assert "#SBATCH --exclude=n1\n" in outcome.out
    assert "#SBATCH --array=0-3\n" in outcome.out
    told = f"group {CUDA}: CudaError: device # lost at <hex>\nonly=group:{CUDA}: of captions/write 1,5,9,13\n"
    assert outcome.out.startswith(told)
    assert tree(recorded.app.path) == before


def test_what_is_no_node_is_refused(recorded):
    for nodes in ("", "n1;rm", "n1,,n2", "n[1-", "n[a-b]", "-n1", "n1 n2", "n1\nn2", "$(x)", "n[1-3]]"):
        outcome = recorded.app("resume", "cluster=slurm", f"exclude={nodes}")
        assert outcome.code == 2, nodes
        assert "is no node; name nodes as squeue does" in outcome.err
    assert len(recorded.app.submissions()) == 1


def test_a_node_that_the_cluster_does_not_have_is_refused_also_by_a_dry_run(recorded, fake_slurm):
    shutil.copy(fake_slurm.programs / "squeue", fake_slurm.programs / "sinfo")
    fake_slurm.answer("sinfo", {"stdout": "n08\nn09\nn10\nn09\nother\n"})
    for nodes, unknown in (("n9", "n9"), ("n[07-09],x", "n07, x")):
        outcome = recorded.app("resume", "cluster=slurm", f"exclude={nodes}", "dry-run=true")
        assert outcome.code == 2
        assert f"exclude={nodes}: no node {unknown} here; there are: n08, n09, n10, other\n" in outcome.err
    assert recorded.app("resume", "cluster=slurm", "exclude=n[08,09-10]", "dry-run=true").code == 0
    fake_slurm.answer("sinfo", {"exit": 1, "stderr": "Unable to contact slurm controller"})
    assert recorded.app("resume", "cluster=slurm", "exclude=n9", "dry-run=true").code == 0


def test_a_local_run_has_no_nodes_to_exclude(app, at_once):
    assert app("submit", "stage=captions", "concepts.limit=5").code == 0
    outcome = app("resume", "exclude=n1")
    assert outcome.code == 2
    assert "exclude=n1: cluster=local has no nodes to choose from" in outcome.err


@pytest.fixture
def story(recorded, fake_slurm) -> dict[str, Any]:
    """Shard 1: failed on n1; then, in the next submission, preempted, and still open."""
    app = recorded.app
    assert app("resume", "cluster=slurm", f"only=group:{CUDA}", "exclude=n1").code == 0
    again = app.submissions()[1].name
    recorded.begin("103_0_0", "n2", again)
    recorded.tell("103_0_0", "shard_start", shard=1, resumed_items=0)
    recorded.tell("103_0_0", "end", reason="notice", signal="SIGUSR2")
    recorded.tell("103_0_0", "requeue", cause="timeout")
    recorded.begin("103_0_1", "n3", again)
    part = app.run.phase(*PHASE).partial_path(1, "103_0_0")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(b"12345")
    logs = app.run.logs("captions")
    (logs / "00001-captions_101_1.log").write_text("first\n" + "a\rb\r50 %|##\n" + "CudaError: \x1b[31mlost\n")
    fake_slurm.answer("sacct", {"stdout": f"103_0|PREEMPTED|{int(recorded.clock)}|{int(recorded.clock)}|n3|0:15\n"})
    outcome = app("why", "shard=captions/1", "json=true")
    assert outcome.code == 0, outcome
    return dict(json.loads(outcome.out))


def test_why_tells_every_attempt_at_a_shard_in_order(story, recorded):
    assert (story["schema"], story["phase"], story["shard"], story["items"]) == (1, "captions/write", 1, [1, 2])
    assert (story["is_done"], story["why_not"], story["is_sealed"]) == (False, "no marker", False)
    assert [(one["submission"], one["element"], one["excluded"]) for one in story["given"]] == [
        ("00001-captions", 1, None),
        ("00002-captions", 0, "n1"),
    ]
    failed, stopped, vanished = story["attempts"]
    assert (failed["attempt"], failed["node"], failed["outcome"]) == ("101_1_0", "n1", "failed")
    assert failed["how"] == "ended after 4 failed shards"
    assert (failed["error"]["type"], failed["error"]["frame"]) == ("CudaError", "synthclip_hpc/x.py:draw")
    assert (stopped["attempt"], stopped["node"], stopped["outcome"]) == ("103_0_0", "n2", "open")
    assert stopped["how"] == "stopped on advance notice (SIGUSR2), put back into the queue (timeout)"
    assert (vanished["attempt"], vanished["outcome"], vanished["began"]) == ("103_0_1", None, None)
    assert vanished["how"] == "vanished without a word; Slurm says PREEMPTED (exit 0:15)"
    [left] = story["work_files"]
    assert (left["path"].endswith("00001.103_0_0.part"), left["size_bytes"]) == (True, 5)


def test_why_in_words_ends_with_logs_and_the_command_that_tries_again(story, recorded):
    said = recorded.app("why", "shard=captions/write/1", "lines=2").out
    assert "captions/write shard 1: items 1 to 1 of the plan\nnot done: no marker\n" in said
    assert "given to element 0 of 00002-captions" in said and "which left alone n1" in said
    assert "attempt 3: 103_0_1 on n3" in said and "did not come to this shard" in said
    assert "00001-captions_101_1.log:\n  50 %|##\n  CudaError: [31mlost\n" in said
    assert "    CudaError: device 0 lost at 0x7f01\n" in said and "line 7, in draw" not in said
    assert said.endswith(f"python -m synthclip_hpc.resume only=shards:captions/write/1 run={recorded.app.path}\n")


def test_why_tells_a_submission_that_has_ended_and_a_log_without_a_line(story, recorded):
    assert [one["state"] for one in story["given"]] == ["ended", "submitted"]
    (recorded.app.run.logs("captions") / "00001-captions_101_1.log").write_text("\n")
    who = {"attempt": "104_seal_0", "job": "104", "index": "seal", "restart": 0, "submission": "00002-captions"}
    recorded.tell("104_seal_0", "start", role="seal", **who)
    recorded.tell("104_seal_0", "end", reason="incomplete", message="11 of 20 shards are not done", num_missing=11)
    said = recorded.app("why", "shard=captions/write/1").out
    assert (said.count("slurm, ended)"), said.count("slurm, submitted)")) == (2, 0)
    assert "00001-captions_101_1.log:\n  (empty)\n" in said


def test_why_of_a_finished_shard_says_who_made_it(recorded):
    outcome = recorded.app("why", "shard=captions/4")
    assert outcome.code == 0
    assert "\ndone: 1 items, " in outcome.out and "made by attempt 101_0_0" in outcome.out
    assert "done at 1 items" in outcome.out
    assert "resume" not in outcome.out
    assert "done and sealed: 20 items" in recorded.app("why", "shard=concepts/0").out


def test_accounting_that_does_not_answer_leaves_the_rest_of_the_story(story, recorded, fake_slurm):
    fake_slurm.answer("sacct", {"exit": 1, "stderr": "sacct: error: slurmdbd is down"})
    said = recorded.app("why", "shard=captions/1").out
    assert "vanished without a word; Slurm's accounting does not tell (" in said and "slurmdbd is down" in said
    assert "attempt 1: 101_1_0 on n1" in said


NO_SHARD = [
    ("", "shard is missing"),
    ("captions/20", "captions/write has the shards 0 to 19"),
    ("captions/x", "write STAGE/NUMBER or STAGE/PHASE/NUMBER"),
    ("7", "write STAGE/NUMBER or STAGE/PHASE/NUMBER"),
    ("rendr/7", "write STAGE/NUMBER or STAGE/PHASE/NUMBER"),
    ("render/7", "render has no plan"),
]


def test_what_is_no_shard_is_refused(recorded):
    for shard, words in NO_SHARD:
        outcome = recorded.app("why", f"shard={shard}")
        assert (outcome.code, outcome.out) == (2, ""), shard
        assert words in outcome.err


def test_why_of_a_local_shard_tells_work_from_kills(app, monkeypatch):
    def start(run, submissions):
        for one in submissions:
            update(one, state="submitted", supervisor=identify(os.getpid()))

    monkeypatch.setattr("synthclip_hpc.launch.local.start_supervisor", start)
    assert app("submit", "stage=captions", "concepts.limit=4", "captions.shard_items=1", "workers=2").code == 0
    run = Recorded(app)
    run.tell("local1_seal_0", "start", role="supervisor", submission="00001-captions")
    for restart in (0, 1):
        run.begin(f"local1_1_{restart}", "here")
        run.tell(f"local1_1_{restart}", "shard_start", shard=3, resumed_items=0)
        if restart == 0:
            run.tell("local1_seal_0", "worker_ended", element=1, restart=0, exit_code=-9)
    assert endings_of(app, 3) == ["killed (SIGKILL)", "at work"]
    assert endings_of(app, 2) == []  # its element has not come to work yet
    update(app.submissions()[0], state="ended", supervisor=identify(os.getpid()) | {"start_ticks": 1})
    assert endings_of(app, 3) == ["killed (SIGKILL)", "vanished without a word"]


def endings_of(app: App, shard: int) -> list[str]:
    outcome = app("why", f"shard=captions/{shard}", "json=true")
    assert outcome.code == 0, outcome
    return [attempt["how"] for attempt in json.loads(outcome.out)["attempts"]]


@pytest.mark.parametrize(
    ("shards", "text"),
    [
        ([3], "3"),
        ([0, 1, 2, 5, 7, 8], "0-2,5,7-8"),
        (list(range(0, 40, 2)), "0,2,4,6,8,10,12,14,16,18 ... (20 in all)"),
    ],
)
def test_shards_are_shown_as_ranges(shards, text):
    assert shown(shards) == text
