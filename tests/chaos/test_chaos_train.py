"""The chaos of training in short, and that its judge finds what it looks for."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from slurm.onemachine import Lab
from tests.chaos.faults import Injection
from tests.chaos.local_campaign import run_calm
from tests.chaos.scenario import Act
from tests.chaos.scenarios import TRAIN
from tests.chaos.slurm_campaign import run_on_slurm
from tests.chaos.steps import account_steps, wrong_steps
from tests.chaos.training_faults import damage_newest_checkpoint
from tests.chaos.verdict import judge_slurm

SHORT = replace(
    TRAIN,
    per_concept=1,
    shard_items=20,
    target=80,
    epochs=20,
    batch_size=16,
    save_steps=10,
    ranks=2,
    acts=(Act(("slurm.partition=low",), ("sigkill-rank", "preempt"), 0, (0.5, 1.5)),),
)


@pytest.mark.slurm
@pytest.mark.timeout(900)  # every round starts processes that import torch; a busy machine takes minutes
def test_a_training_on_two_nodes_survives_a_killed_rank_and_a_preemption(slurm_lab: Lab, tmp_path: Path) -> None:
    scenario, bank = SHORT.made_in(tmp_path)
    run_calm(scenario, tmp_path / "calm", bank)
    campaign = run_on_slurm(slurm_lab, scenario, tmp_path / "run", bank, random.Random(0), print)
    verdict = judge_slurm("short", campaign, tmp_path / "calm", scenario)
    assert verdict.problems == []
    assert sorted(injection.fault for injection in verdict.injections) == ["preempt", "sigkill-rank"]
    assert verdict.work.made - verdict.work.made_twice == 100
    assert verdict.status["preemptions"] == 1
    assert verdict.attempts == 2


JUDGED = replace(SHORT, target=64, epochs=15, save_steps=20, in_flight_steps=5)
"""Sixty steps."""


def write_round(run: Path, attempt: str, number: int, steps: Sequence[int], began: float, loss: float = 1.0) -> None:
    """Write the metrics of one round, as rank 0 does: a step each second."""
    rows: list[dict[str, object]] = [{"kind": "start", "time": began}]
    for place, step in enumerate(steps, start=1):
        rows.append({"step": step, "loss": loss / step, "lr": 0.1})
        rows.append({"kind": "timing", "step": step, "time": began + place})
    path = run / "train" / "metrics" / f"{attempt}-{number}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def test_a_curve_with_another_value_and_a_missing_step_are_found(tmp_path: Path) -> None:
    write_round(tmp_path / "calm", "1_0_0", 0, range(1, 61), 0.0)
    write_round(tmp_path / "run", "2_0_0", 0, range(1, 31), 0.0)
    write_round(tmp_path / "run", "2_0_1", 0, range(21, 61), 100.0)
    assert wrong_steps(tmp_path / "run", tmp_path / "calm", JUDGED) == []
    write_round(tmp_path / "run", "2_0_0", 0, [*range(1, 5), *range(6, 31)], 0.0)
    write_round(tmp_path / "run", "2_0_1", 0, range(40, 61), 100.0, loss=1.0000001)
    assert wrong_steps(tmp_path / "run", tmp_path / "calm", JUDGED) == [
        "2_0_1/0: 21 steps with other metrics, first 40",
        "10 steps are in no file, e.g. 5",
    ]


@pytest.mark.parametrize(
    ("fault", "hit", "allowed"),
    [
        ("sigkill-rank", "2_0_0/0", 25),
        ("corrupt-checkpoint", "2_0_0/0", 45),
        ("preempt", "2_0_0", 25),
        ("preempt-grace", "2_0_0", 0),
    ],
)
def test_steps_repeated_beyond_what_a_fault_may_cost_are_found(
    tmp_path: Path, fault: str, hit: str, allowed: int
) -> None:
    injections = [Injection(fault, 50.0, [hit])]
    for repeated in (allowed, allowed + 1):
        write_round(tmp_path, "2_0_0", 0, range(1, 51), 0.0)
        write_round(tmp_path, "2_0_1", 0, range(51 - repeated, 61), 100.0)
        journal = tmp_path / "train" / "fit" / "journals" / "2_0_0.jsonl"
        journal.parent.mkdir(parents=True, exist_ok=True)
        journal.write_text(
            '{"event":"round","round":0}\n{"event":"round_ended","round":0,"outcome":"stopped","step":50}\n'
        )
        result = account_steps(tmp_path, JUDGED, injections)
        assert (result.made_twice, result.cut_off) == (repeated, {hit: float(repeated)})
        assert len(result.problems) == (repeated > allowed)


def test_a_round_that_had_notice_and_left_no_checkpoint_of_its_last_step_is_found(tmp_path: Path) -> None:
    write_round(tmp_path, "2_0_0", 0, range(1, 51), 0.0)
    journal = tmp_path / "train" / "fit" / "journals" / "2_0_0.jsonl"
    journal.parent.mkdir(parents=True)
    journal.write_text('{"event":"round","round":0}\n{"event":"round_ended","round":0,"outcome":"lost","step":50}\n')
    injections = [Injection("time-limit", 50.0, ["2_0_0"])]
    assert account_steps(tmp_path, JUDGED, injections).problems == [
        "2_0_0/0: had notice after step 50, but its round ended so: ('lost', 50)"
    ]
    # A round that was still starting had nothing to save.
    journal.write_text(f'{journal.read_text()}{{"event":"round","round":1}}\n')
    assert account_steps(tmp_path, JUDGED, injections).problems == []


def test_the_steps_of_attempts_that_overlap_are_counted_apart(tmp_path: Path) -> None:
    write_round(tmp_path, "2_0_0", 0, range(1, 51), 0.0)
    write_round(tmp_path, "2_0_1", 0, range(11, 61), 20.0)
    result = account_steps(tmp_path, JUDGED, [])
    assert (result.made, result.made_twice, result.made_twice_overlapping) == (100, 0, 40)
    assert result.problems == []


def test_the_newest_checkpoint_is_damaged_and_another_whole_one_is_always_left(tmp_path: Path) -> None:
    for step in (20, 40):
        folder = tmp_path / "train" / "checkpoints" / f"step-{step:08d}"
        folder.mkdir(parents=True)
        (folder / "state.pt").write_bytes(bytes(1000))
    assert damage_newest_checkpoint(tmp_path, set()) == "step-00000040"
    data = (tmp_path / "train" / "checkpoints" / "step-00000040" / "state.pt").read_bytes()
    assert (len(data), data.count(0xFF)) == (1000, 16)
    with pytest.raises(Exception, match="only 1 whole checkpoints"):
        damage_newest_checkpoint(tmp_path, {"step-00000040"})
