from __future__ import annotations

import ast
import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest

from slurm.profiles import ProfileError, Resources, built_in_profiles, load_profile


@pytest.fixture
def profile_file(tmp_path: Path):
    def write(text: str) -> str:
        path = tmp_path / "cluster.toml"
        path.write_text(text)
        return str(path)

    return write


def test_stage_table_wins_over_default_and_overrides_win_over_both(profile_file):
    profile = load_profile(
        profile_file('[default]\npartition = "a"\ncpus = 2\nmemory = "1G"\n[stage.render]\npartition = "b"\ncpus = 3\n')
    )
    resources = profile.for_stage("render", {"cpus": 4, "memory": None})
    assert (resources.partition, resources.cpus, resources.memory) == ("b", 4, "1G")
    assert (profile.for_stage("merge").partition, profile.for_stage("merge").cpus) == ("a", 2)


def test_an_empty_text_and_no_gpus_take_a_default_back(profile_file):
    path = profile_file('[default]\ngres = "gpu:1"\ngpus_per_node = 4\n[stage.merge]\ngres = ""\ngpus_per_node = 0\n')
    resources = load_profile(path).for_stage("merge")
    assert (resources.gres, resources.gpus_per_node) == (None, 0)


def test_every_built_in_profile_serves_every_stage():
    assert built_in_profiles() == ["a100-preemptible", "container", "onemachine"]
    for name in built_in_profiles():
        for stage in ("captions", "balance", "render", "merge", "train", "eval", "report", "seal"):
            assert load_profile(name).for_stage(stage).time_min >= 1
    assert load_profile("container").for_stage("render").container is None
    assert load_profile("a100-preemptible").for_stage("train").nodes == 4


def test_every_resource_has_one_line_of_help():
    body = ast.parse(inspect.getsource(Resources)).body[0]
    assert isinstance(body, ast.ClassDef)
    documented = {
        before.target.id
        for before, after in zip(body.body, body.body[1:], strict=False)
        if isinstance(before, ast.AnnAssign)
        and isinstance(before.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
        and "\n" not in str(after.value.value)
    }
    assert documented == {item.name for item in dataclasses.fields(Resources)}
    assert len(documented) == 20


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[default]\npartion = "a"', ["[default] partion", "unknown key", "did you mean 'partition'?"]),
        ('[stage.render]\nmemmory = "1G"', ["[stage.render] memmory", "did you mean 'memory'?"]),
        ("[stage.rendr]\ncpus = 1", ["unknown table 'stage.rendr'", "did you mean 'stage.render'?"]),
        ("[defaults]\ncpus = 1", ["unknown table 'defaults'", "did you mean 'default'?"]),
        ("[limits]\ncpus = 1", ["unknown table 'limits'", "default, stage, schema"]),
        ("cpus = 1", ["'cpus' stands outside of all tables", "[default]"]),
        ("schema = 2", ["schema is 2", "reads 1", "update"]),
        ("stage = 3", ["stage must be tables", "3"]),
        ("default = 3", ["[default] must be a table", "3"]),
        ("[stage]\nrender = 3", ["[stage.render] must be a table", "3"]),
        ('[default]\ncpus = "4"', ["[default] cpus", "whole number", "'4'"]),
        ("[default]\ncpus = true", ["[default] cpus", "whole number", "True"]),
        ("[default]\ncpus = 0", ["[default] cpus is 0", "at least 1"]),
        ("[default]\ncpus = 1.5", ["[default] cpus", "1.5"]),
        ("[default]\nthrottle = -1", ["[default] throttle is -1", "at least 0"]),
        ("[default]\nsignal_lead_s = 70000", ["70000", "65535"]),
        ("[default]\nmemory = 8", ["[default] memory must be text, got 8", "quotes"]),
        ('[default]\nsetup = "module load cuda"', ["[default] setup must be a list of texts"]),
        ("[default]\nsrun_args = [1]", ["[default] srun_args must be a list of texts"]),
        ('[default]\nsetup = ["a\\nb"]', ["[default] setup", "one printable line", "'\\n'"]),
        ('[default]\npartition = "a\\n#SBATCH --uid=0"', ["[default] partition", "one printable line"]),
        ('[default]\npartition = "a\\u0000"', ["[default] partition", "one printable line"]),
        ('[default]\nqos = "a\\u2028b"', ["[default] qos", "one printable line"]),
        ('[default]\ncontainer = "apptainer \'x"', ["[default] container", "close the quote"]),
        ("[default]\npython = 'python \"'", ["[default] python", "close the quote"]),
        ("[default\n", ["not valid TOML"]),
    ],
)
def test_a_bad_profile_is_refused_with_the_place_and_the_remedy(profile_file, text: str, words: list[str]):
    path = profile_file(text)
    with pytest.raises(ProfileError) as caught:
        load_profile(path, stages=["captions", "render", "seal"])
    for word in [path, *words]:
        assert word in str(caught.value)


def test_a_profile_that_is_no_text_is_refused(tmp_path: Path):
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProfileError, match="not valid TOML"):
        load_profile(str(path))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("onemachin", ["did you mean 'onemachine'?", "a100-preemptible, container, onemachine"]),
        ("", ["is not a built-in profile"]),
        ("/no/such.toml", ["cannot read /no/such.toml", "No such file"]),
        ("cluster.toml", ["cannot read cluster.toml"]),
        ("/", ["cannot read /", "directory"]),
    ],
)
def test_a_profile_that_cannot_be_found_is_named(name: str, words: list[str]):
    with pytest.raises(ProfileError) as caught:
        load_profile(name)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"partitions": "a"}, ["slurm.partitions: unknown key", "did you mean 'partition'?"]),
        ({"cpus": "4"}, ["slurm.cpus must be a whole number, got '4'"]),
        ({"setup": ["a\r"]}, ["slurm.setup", "one printable line"]),
    ],
)
def test_a_bad_override_is_named_as_on_the_command_line(overrides: dict[str, Any], words: list[str]):
    with pytest.raises(ProfileError) as caught:
        load_profile("onemachine").for_stage("render", overrides)
    for word in words:
        assert word in str(caught.value)


def test_resources_made_in_code_are_checked_as_well():
    with pytest.raises(ProfileError, match="cpus is 0"):
        Resources(cpus=0)
    assert Resources(setup=["a"]).setup == ("a",)  # type: ignore[arg-type]


def test_the_warning_is_never_more_than_half_the_time_limit():
    assert Resources(time_min=1, signal_lead_s=120).effective_signal_lead_s == 30
    assert Resources(time_min=60, signal_lead_s=120).effective_signal_lead_s == 120


@pytest.mark.parametrize(
    ("asked", "gpus"),
    [
        ({}, 0),
        ({"gres": "gpu"}, 1),
        ({"gres": "gpu:4"}, 4),
        ({"gres": "gpu:a100"}, 1),
        ({"gres": "gpu:a100:2(S:0-1)"}, 2),
        ({"gres": "lustre:1,gpu:2,gpu:a100:1"}, 3),
        ({"gres": "gpumem:1"}, 0),
        ({"gpus_per_node": 8}, 8),
        ({"gpus_per_node": 0, "gres": "gpu:1"}, 0),
    ],
)
def test_gpus_are_counted_by_number_or_by_gres(asked, gpus):
    assert Resources(**asked).num_gpus == gpus
