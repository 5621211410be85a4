"""What an element says of data that its node does not see. Without torch."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from synthclip_hpc.config.eval import EvalConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.evaluation.cells import splits_of
from synthclip_hpc.evaluation.facts import facts_of
from synthclip_hpc.evaluation.on_node import facts_here, folder_here
from tests.synthclip_hpc.eval_worlds import bare_classification

HERE = f"on node {os.uname().nodename}: "


@pytest.fixture(autouse=True)
def no_root(monkeypatch):
    monkeypatch.delenv("SYNTHCLIP_EVAL_DATA", raising=False)


def refused(settings: EvalConfig, name: str) -> str:
    with pytest.raises(UserError) as error:
        folder_here(settings, name)
    assert str(error.value).startswith(HERE) and "where it ran" in str(error.value)
    return str(error.value)


def test_a_root_that_is_not_seen_is_named_with_the_node(tmp_path):
    settings = EvalConfig(datasets="cifar10", root=str(tmp_path / "data"))
    assert f"eval.root={tmp_path}/data, which has cifar10, is not to be seen from here" in refused(settings, "cifar10")


def test_a_root_without_the_set_is_another_message(tmp_path):
    settings = EvalConfig(datasets="paper", root=str(tmp_path))
    assert f"eval.root={tmp_path} is to be seen from here, but no dtd in it" in refused(settings, "dtd")


def test_a_root_that_only_the_submitting_shell_knew_is_told():
    assert "neither eval.root nor its variable is set here" in refused(EvalConfig(datasets="cifar10"), "cifar10")


def test_a_folder_that_is_not_seen_is_named_with_the_node(tmp_path):
    settings = EvalConfig(datasets=f"{tmp_path}/mine")
    assert f"the folder {tmp_path}/mine of mine is not to be seen from here" in refused(settings, "mine")


def test_a_set_that_is_seen_does_not_need_the_others(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "dtd").mkdir()
    settings = EvalConfig(datasets=f"/nowhere/set,probe,{tmp_path}/mine", root=str(tmp_path))
    assert folder_here(settings, "mine") == tmp_path / "mine"
    assert folder_here(settings, "dtd") == tmp_path / "dtd"


def test_an_empty_mount_and_other_data_name_the_node(tmp_path):
    folder = bare_classification(tmp_path / "mine")
    planned = {"dataset": "mine", "task": "zero_shot", "sha256": facts_of(folder).sha256(splits_of("zero_shot"))}
    assert facts_here(planned, folder).images == {"test": 12}
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"^{HERE}.*empty: no data set"):
        facts_here(planned, tmp_path / "empty")
    bare_classification(tmp_path / "mine", test=3)
    with pytest.raises(UserError, match=f"^{HERE}.*mine has changed since the evaluation was planned"):
        facts_here(planned, folder)


def test_a_set_of_the_runs_own_is_bound_by_its_seal(tmp_path: Path):
    folder = bare_classification(tmp_path / "glyphs-twemoji")
    drawn = {"dataset": "glyphs-twemoji", "task": "zero_shot", "sha256": None}
    assert facts_here(drawn, folder).classes == 6
