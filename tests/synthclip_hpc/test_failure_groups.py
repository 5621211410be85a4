"""What makes failures the same, and whom a group of them follows: nodes and shards are told apart."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from synthclip_hpc.monitor.blame import Passed, Try, chance, judge
from synthclip_hpc.monitor.failure_watch import FailureWatch
from synthclip_hpc.monitor.failures import group_failures, group_id
from synthclip_hpc.monitor.fingerprint import Fingerprint, fingerprint, pattern_of
from synthclip_hpc.monitor.lives import PhaseLives
from synthclip_hpc.own_frames import frame_of, frame_of_text
from synthclip_hpc.work import describe


@pytest.mark.parametrize(
    ("message", "pattern"),
    [
        ("CUDA error 712 on device 3", "CUDA error # on device #"),
        ("took 1.5 s of 20,000", "took # s of #"),
        ("at 0x7fafb177a480", "at <hex>"),
        ("plan 8d1f00ab33 is not 00ffee1122aa", "plan <hex> is not <hex>"),
        ("cannot read /scratch/me/run 1/x.tar", "cannot read <path> #/x.tar"),
        ("'/a/b.json': no such file; see file:///a/b", "'<path>': no such file; see <path>"),
        ("~/x/y and ./relative, 3/4 of and/or", "<path> and ./relative, #/# of and/or"),
        ("deadbeef is no number, 12345678 is", "deadbeef is no number, # is"),
        ("a\n  b\tc", "a b c"),
        ("x" * 400, "x" * 300),
        ("", ""),
    ],
)
def test_a_message_without_what_changes(message, pattern):
    assert pattern_of(message) == pattern


def raised(function, *arguments) -> BaseException:
    try:
        function(*arguments)
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_the_frame_is_the_innermost_of_our_own_code_and_the_text_of_a_traceback_says_the_same():
    from sharding.deal import deal
    from synthclip_hpc.config_files import apply_file

    for error, frame in (
        (raised(deal, [], 0, 0), "sharding/deal.py:deal"),
        (raised(apply_file, None, 7), "synthclip_hpc/config_files.py:apply_file"),
        (raised(int, "x"), ""),  # this test is not among our packages
    ):
        told = describe(error)
        assert (told["frame"], frame_of(error.__traceback__)) == (frame, frame)
        assert frame_of_text(told["traceback"]) == frame


@pytest.mark.parametrize(
    ("file", "frame"),
    [
        ("/opt/env/lib/python3.11/site-packages/synthclip_hpc/work.py", "synthclip_hpc/work.py:run"),
        ("/opt/synthclip_hpc/checkout/sharding/files.py", "sharding/files.py:run"),
        ("/opt/slurm/env/lib/python3.11/site-packages/torch/nn/modules.py", ""),
        ("/opt/my_engine.py", ""),
    ],
)
def test_the_frame_of_a_text_wherever_our_packages_are_installed(file, frame):
    text = f'Traceback (most recent call last):\n  File "{file}", line 3, in run\n    x\nValueError: 1\n'
    assert frame_of_text(text) == frame


def test_errors_of_old_journals_have_the_frame_of_their_traceback_or_what_they_called_it():
    trace = 'Traceback (most recent call last):\n  File "/x/synthclip_hpc/work.py", line 3, in work\n    x\n'
    old: dict[str, Any] = {"type": "OSError", "message": "disk 3 full", "where": "files.py:write"}
    assert fingerprint(old | {"traceback": trace}) == ("OSError", "synthclip_hpc/work.py:work", "disk # full")
    assert fingerprint(old).frame == "files.py:write"
    assert fingerprint(old | {"frame": ""}).frame == ""


def test_the_chance_is_that_of_the_hypergeometric_distribution():
    draw = random.Random(1)
    for _ in range(300):
        tries = draw.randint(1, 30)
        failed, here = draw.randint(0, tries), draw.randint(0, tries)
        failed_here = draw.randint(max(0, here - (tries - failed)), min(failed, here))
        ways = sum(
            math.comb(failed, n) * math.comb(tries - failed, here - n)
            for n in range(failed_here, min(failed, here) + 1)
        )
        assert chance(failed, tries, failed_here, here) == pytest.approx(ways / math.comb(tries, here))
    assert chance(20_000, 60_000, 10_000, 30_000) == pytest.approx(0.5, abs=0.01)


def tries(*nodes_and_things: tuple[str, int], at: float = 0.0) -> list[Try]:
    return [Try(node, str(thing), at + place) for place, (node, thing) in enumerate(nodes_and_things)]


FOUR_NODES = Passed(Try(f"n{shard % 4}", str(shard), 0.0) for shard in range(40))


def test_failures_of_many_shards_on_one_node_follow_the_node():
    verdict = judge(tries(("n9", 50), ("n9", 51), ("n9", 52)), FOUR_NODES)
    assert (verdict.follows, verdict.blamed) == ("node", ("n9",))
    assert verdict.evidence == "on n9 3 of 3 tries failed, elsewhere 0 of 40"
    # The same shards passed elsewhere when they were tried again, but for one that came back to the bad node.
    again = Passed([Try(f"n{shard % 4}", str(shard), 99.0) for shard in range(52)])
    assert judge(tries(("n9", 50), ("n9", 51), ("n9", 52), ("n9", 52)), again).follows == "node"


def test_two_bad_nodes_are_both_blamed_in_spite_of_a_stray_failure_elsewhere():
    failed = tries(*[("n1", 50 + n) for n in range(6)], *[("n2", 60 + n) for n in range(6)], ("n0", 70))
    passed = Passed(Try("n0" if shard % 2 else "n3", str(shard), 0.0) for shard in range(40))
    verdict = judge(failed, passed)
    assert (verdict.follows, verdict.blamed) == ("node", ("n1", "n2"))
    assert verdict.evidence == "on n1, n2 12 of 12 tries failed, elsewhere 1 of 41"


def test_a_shard_that_fails_again_wherever_it_goes_follows_the_shard():
    verdict = judge(tries(("n1", 50), ("n2", 50), ("n3", 50)), FOUR_NODES)
    assert (verdict.follows, verdict.blamed) == ("shard", ("50",))
    assert verdict.evidence == "failed again in each of 3 attempts on n1, n2, n3; 40 other shards passed"
    # On the node alone that passes others as well.
    assert judge(tries(("n1", 50), ("n1", 50)), FOUR_NODES).follows == "shard"


@pytest.mark.parametrize(
    ("failed", "passed", "why"),
    [
        (tries(("n1", 50)), FOUR_NODES, "1 of 41 tries failed, none twice, on 1 of 4 nodes"),
        (tries(*[(f"n{n % 4}", 50 + n) for n in range(8)]), FOUR_NODES, "8 of 48 tries failed"),
        (tries(("n1", 50), ("n1", 51)), Passed(tries(("n2", 1), ("n2", 2))), "2 of 4 tries failed"),
        # Everything fails, again and again: neither one node nor some shards.
        (tries(*[("n1", n % 5) for n in range(10)]), Passed(), "10 of 10 tries failed"),
        # Tried again, most passed: whatever it was has gone.
        (
            tries(*[("n1", 50 + n) for n in range(5)], ("n1", 50)),
            Passed([*tries(*[("n1", 51 + n) for n in range(4)], at=99.0), Try("n1", "7", 0.0)]),
            "6 of 11 tries failed",
        ),
        # One shard twice on a node where nothing else was tried: it may be either.
        (tries(("n9", 50), ("n9", 50)), FOUR_NODES, "2 of 42 tries failed"),
    ],
)
def test_what_is_not_clear_is_called_neither(failed, passed, why):
    verdict = judge(failed, passed)
    assert (verdict.follows, verdict.blamed) == ("neither", ())
    assert verdict.evidence.startswith(why)


def test_what_passed_before_a_shard_was_reopened_does_not_acquit_it():
    earlier = Passed([*tries(("n1", 50), at=-10.0), *tries(*[("n1", n) for n in range(9)])])
    assert judge(tries(("n1", 50), ("n1", 50)), earlier).blamed == ("50",)


def test_an_element_that_fails_again_is_no_shard():
    assert judge(tries(("n1", 0), ("n2", 0)), FOUR_NODES, are_shards=False).follows == "neither"


def test_whom_failures_follow_is_found_in_a_few_passes_over_them_however_many_nodes_there_are():
    class Counted(list[Try]):
        passes = 0

        def __iter__(self):
            Counted.passes += 1
            return super().__iter__()

    failed = Counted(tries(*[(f"n{n % 50}", n) for n in range(500)], *[("n7", n) for n in range(500, 700)]))
    passed = Passed(tries(*[(f"n{n % 50}", n) for n in range(1000, 2000)]))
    assert judge(failed, passed).follows == "neither"
    assert Counted.passes < 10
    assert judge(failed[500:], passed).blamed == ("n7",)


def test_in_a_large_run_groups_are_made_anew_after_a_while_and_in_a_small_one_at_once(monkeypatch):
    made: list[str] = []

    def counted(error: dict[str, Any]) -> Fingerprint:
        made.append(error["message"])
        return fingerprint(error)

    monkeypatch.setattr("synthclip_hpc.monitor.lives.fingerprint", counted)
    watch = FailureWatch()

    def fail(*shards: int) -> None:
        failed = [{"event": "shard_failed", "time": 5.0, "shard": n, "type": "E", "message": f"{n}"} for n in shards]
        watch.take("render/draw", "9_0_0", failed)

    def count(now: float, **how: bool) -> int:
        return sum(group.count for group in watch.groups(now, **how))

    fail(1)
    assert count(100.0) == 1
    fail(2)
    assert count(100.0) == 2
    fail(*range(3, 3003))
    assert count(100.0) == 2
    assert count(102.9) == 2
    assert count(103.0) == 3002
    fail(4000)
    assert count(104.0) == 3002
    assert count(104.0, at_once=True) == 3003
    # What makes an error the same as others is found when it is read, and never again.
    assert len(made) == 3003


class Recorded:
    """Journals of one phase, told in lines of (attempt, event, fields)."""

    def __init__(self) -> None:
        self.lives = PhaseLives("render/draw")
        self.clock = 1000.0

    def tell(self, attempt: str, event: str, **fields: Any) -> None:
        self.clock += 1
        self.lives.take(attempt, [{"event": event, "time": self.clock, **fields}])

    def start(self, attempt: str, node: str, element: int | None = None, **more: Any) -> None:
        job, index, restart = attempt.split("_")
        own = {"job": job, "index": int(index), "restart": int(restart), "element": element}
        self.tell(attempt, "start", node=node, submission="00001-render", **(own | more))

    def work(self, attempt: str, *done: int, failed: dict[int, str] | None = None) -> None:
        for shard in (*done, *(failed or {})):
            self.tell(attempt, "shard_start", shard=shard, resumed_items=0)
            if failed and shard in failed:
                kind, _, message = failed[shard].partition(": ")
                frame = "synthclip_hpc/x.py:draw"
                self.tell(attempt, "shard_failed", shard=shard, type=kind, message=message, frame=frame)
            else:
                self.tell(attempt, "shard_done", shard=shard, done=5, rejected=0, new=5)


ODD_EVENTS = [
    ("shard_start", ("shard", "resumed_items")),
    ("shard_done", ("shard", "done", "rejected", "new")),
    ("worker_ended", ("element", "restart", "exit_code")),
    ("gave_up", ("element", "count")),
    ("start", ("index", "restart", "element")),
    ("note", ("time", "lost_events")),
]


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


def test_groups_have_counts_nodes_elements_shards_and_a_sample_in_order_of_first_occurrence(recorded):
    for element, node in enumerate(("n0", "n1", "n2", "n3")):
        recorded.start(f"9_{element}_0", node, element)
    recorded.work("9_0_0", *range(0, 40, 4))
    recorded.work("9_2_0", *range(2, 38, 4), failed={38: "ValueError: caption 38 is empty"})
    recorded.work("9_1_0", failed={n: f"CudaError: device 0 lost at 0x7f{n:02d}aa" for n in (1, 5, 9, 13)})
    recorded.work("9_3_0", *range(3, 39, 4), failed={39: "ValueError: caption 39 is empty"})
    empty, lost = group_failures([recorded.lives])
    assert (empty.fingerprint.pattern, empty.shards) == ("caption # is empty", (38, 39))
    assert (empty.count, dict(empty.nodes), empty.verdict.follows) == (2, {"n2": 1, "n3": 1}, "neither")
    assert (lost.phase, lost.fingerprint.type) == ("render/draw", "CudaError")
    assert lost.fingerprint.frame == "synthclip_hpc/x.py:draw"
    assert (lost.count, lost.shards, lost.elements) == (4, (1, 5, 9, 13), (("00001-render", 1),))
    assert (lost.verdict.follows, lost.verdict.blamed) == ("node", ("n1",))
    assert (lost.sample.shard, lost.sample.message) == (13, "device 0 lost at 0x7f13aa")
    assert lost.first < lost.last == lost.sample.time
    recorded.start("8_0_0", "n0", 0)
    recorded.work("8_0_0", failed={1: "OSError: stale file handle"})
    assert [group.fingerprint.type for group in group_failures([recorded.lives])] == [
        "ValueError",
        "CudaError",
        "OSError",
    ]


def test_a_group_keeps_its_id_when_a_journal_that_comes_late_tells_of_an_earlier_failure(recorded):
    recorded.start("9_0_0", "n0", 0)
    recorded.work("9_0_0", failed={38: "ValueError: caption 38 is empty"})
    [empty] = group_failures([recorded.lives])
    assert len(empty.id) == 8 and int(empty.id, 16) >= 0
    recorded.clock = 10.0
    recorded.start("9_1_0", "n1", 1)
    recorded.work("9_1_0", failed={1: "CudaError: device 0 lost", 2: "ValueError: caption 2 is empty"})
    lost, again = group_failures([recorded.lives])
    assert (lost.fingerprint.type, again.count) == ("CudaError", 2)
    assert again.id == empty.id != lost.id
    # The same error in another phase is another group.
    assert group_id("captions/write", again.fingerprint) != again.id == group_id("render/draw", again.fingerprint)


def test_a_shard_and_the_attempt_it_ended_count_once_and_an_attempt_that_failed_as_a_whole_has_no_shard(recorded):
    full = {"type": "OSError", "message": "No space left", "frame": ""}
    recorded.start("9_0_0", "n0", 0)
    recorded.tell("9_0_0", "shard_start", shard=3, resumed_items=0)
    recorded.tell("9_0_0", "shard_failed", shard=3, **full)
    recorded.tell("9_0_0", "end", reason="error", signal=None, **full)
    recorded.start("9_1_0", "n1", 1)
    recorded.tell("9_1_0", "end", reason="error", type="UserError", message="no model in /models/x", frame="")
    disk, model = group_failures([recorded.lives])
    assert (disk.count, disk.shards) == (1, (3,))
    assert (model.count, model.shards, model.elements) == (1, (), (("00001-render", 1),))
    assert model.fingerprint.pattern == "no model in <path>"


def test_a_node_on_which_attempts_fail_as_a_whole_is_blamed(recorded):
    for element in range(12):
        node = f"n{element % 4}"
        recorded.start(f"9_{element}_0", node, element)
        if node == "n3":
            recorded.tell(f"9_{element}_0", "end", reason="error", type="RuntimeError", message="no GPU", frame="")
        else:
            recorded.work(f"9_{element}_0", element)
    [group] = group_failures([recorded.lives])
    assert (group.count, group.verdict.follows, group.verdict.blamed) == (3, "node", ("n3",))


def test_a_worker_that_crashes_blames_the_shard_in_its_hands_and_a_kill_is_no_failure(recorded):
    recorded.tell("local1_seal_0", "start", role="supervisor", submission="00001-render")
    for restart, code in enumerate((-11, -11, -9)):
        attempt = f"local1_0_{restart}"
        recorded.start(attempt, "here", 0)
        recorded.work(attempt, *([0, 1] if restart == 0 else []))
        recorded.tell(attempt, "shard_start", shard=2, resumed_items=0)
        recorded.tell("local1_seal_0", "worker_ended", element=0, restart=restart, exit_code=code)
    [group] = group_failures([recorded.lives])
    assert (group.fingerprint, group.count, group.shards) == (("Crash", "", "SIGSEGV"), 2, (2,))
    assert (group.verdict.follows, group.verdict.blamed) == ("shard", ("2",))
    recorded.tell("local1_seal_0", "gave_up", element=0, cause="unknown", count=3, limit=2)
    crash, gave_up = group_failures([recorded.lives])
    assert (gave_up.fingerprint.type, gave_up.shards) == ("GaveUp", (2,))
    assert gave_up.fingerprint.pattern == "interrupted # times by unknown, limit #"
    assert crash.count == 2


def test_a_node_that_was_found_unfit_is_blamed_at_once(recorded):
    recorded.start("9_0_0", "n7", 0)
    recorded.tell("9_0_0", "end", reason="node_unfit", type="NodeUnfit", message="1 of 4 GPUs does not answer")
    [group] = group_failures([recorded.lives])
    assert (group.fingerprint.type, group.verdict.follows, group.verdict.blamed) == ("NodeUnfit", "node", ("n7",))
    # None of its shards has failed: nothing was tried.
    assert not recorded.lives.lives["9_0_0"].failed_at(0)


def test_a_seal_that_is_refused_is_a_failure_and_one_that_misses_shards_is_none(recorded):
    recorded.tell("9_seal_0", "start", role="seal", node="n0", submission="00001-render")
    recorded.tell("9_seal_0", "end", reason="incomplete", num_missing=3, missing=[1, 2, 3], message="3 missing")
    assert group_failures([recorded.lives]) == ()
    recorded.tell("8_seal_0", "start", role="seal", node="n0", submission="00002-render")
    recorded.tell("8_seal_0", "end", reason="incomplete", num_missing=0, missing=[], message="2 rows too many")
    [group] = group_failures([recorded.lives])
    assert (group.fingerprint.type, group.fingerprint.pattern) == ("SealRefused", "# rows too many")


@pytest.mark.parametrize("odd", [None, "x", [], {}, -1, True, 1.5, math.inf, math.nan, 1e300, 10**30])
def test_numbers_of_another_kind_are_passed_over_wherever_they_stand(recorded, odd):
    recorded.start("9_0_0", "n0", 0)
    for event, fields in ODD_EVENTS:
        for key in fields:
            recorded.tell("8_0_0", event, **{**dict.fromkeys(fields, 1), key: odd})
    recorded.work("9_0_0", failed={4: "ValueError: first"})
    [group] = [group for group in group_failures([recorded.lives]) if group.fingerprint.type == "ValueError"]
    assert (group.count, group.shards, group.elements) == (1, (4,), (("00001-render", 0),))


def test_events_of_another_shape_are_passed_over_and_a_repeated_job_id_is_another_life(recorded):
    recorded.start("9_0_0", "n0", 0)
    recorded.work("9_0_0", failed={4: "ValueError: first"})
    recorded.tell("9_0_0", "shard_failed")
    recorded.tell("9_0_0", "corrupt", offset=3, size_bytes=4)
    recorded.start("9_0_0", "n5", 0)
    recorded.work("9_0_0", failed={4: "ValueError: first"})
    [group] = group_failures([recorded.lives])
    assert (group.count, dict(group.nodes)) == (2, {"n0": 1, "n5": 1})
