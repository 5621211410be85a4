"""torchrun on the nodes of a job: who is which node, and the words it is given."""

from __future__ import annotations

import sys

import pytest

from slurm.torchrun import Meeting, Node, launcher_command, torchrun_arguments, torchrun_environment


@pytest.mark.parametrize(
    ("environ", "node"),
    [
        ({}, Node(0, 1, "here")),
        ({"SLURM_NTASKS": "", "SLURM_PROCID": ""}, Node(0, 1, "here")),
        ({"SLURM_NTASKS": "64", "SLURM_PROCID": "63", "SLURMD_NODENAME": "n063"}, Node(63, 64, "n063")),
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, Node(0, 2, "here")),
    ],
)
def test_a_task_knows_its_node_from_what_slurm_says(environ, node):
    assert Node.from_environment(environ, "here") == node


def test_torchrun_gets_a_static_meeting_without_restarts_of_its_own():
    words = torchrun_arguments(Node(3, 8, "n3"), Meeting("n0", 29_501, 600), "gpu", "some.module", ["a", "--b"])
    assert words == [
        "--nnodes=8",
        "--node-rank=3",
        "--nproc-per-node=gpu",
        "--master-addr=n0",
        "--master-port=29501",
        "--rdzv-conf=timeout=600",
        "--max-restarts=0",
        "--module",
        "some.module",
        "a",
        "--b",
    ]


def test_the_installed_torchrun_takes_these_words_and_this_environment(monkeypatch):
    run = pytest.importorskip("torch.distributed.run")
    for key, value in torchrun_environment().items():
        monkeypatch.setenv(key, value)
    words = torchrun_arguments(Node(1, 2, "n1"), Meeting("n0", 29_501, 77), "4", "some.module", ["a", "--nnodes=9"])
    config, command, arguments = run.config_from_args(run.parse_args(words))
    assert (config.min_nodes, config.max_nodes, config.nproc_per_node, config.max_restarts) == (2, 2, 4, 0)
    assert config.rdzv_backend == "static" and config.rdzv_endpoint == "n0:29501"
    assert config.rdzv_configs["rank"] == 1 and int(config.rdzv_configs["timeout"]) == 77
    assert command == sys.executable
    assert arguments == ["-u", "-m", "some.module", "a", "--nnodes=9"]


def test_the_launcher_is_told_whom_to_die_with():
    assert launcher_command("a.launcher", 17, ["--x"]) == [sys.executable, "-u", "-m", "a.launcher", "17", "--x"]
