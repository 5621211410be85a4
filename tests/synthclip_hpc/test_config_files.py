"""Configuration from TOML, and who wins: defaults < the run's own < preset < config=FILE < command line."""

from __future__ import annotations

import dataclasses
import tomllib

import pytest

from synthclip_hpc.commands import SubmitOptions, config_of, parse_config_options
from synthclip_hpc.config import RunConfig, SlurmConfig, flatten, with_values
from synthclip_hpc.config_files import apply_preset, apply_table, preset_names, to_table

FULL = with_values(
    RunConfig(),
    {
        "seed": 2**63 - 1,
        "workers": 3,
        "concepts.bank": 'ba"nk\\ü\n.txt',
        "captions.template.items_per_s": 0.5,
        "retries.errors": 0,
        "slurm.partition": "gpu",
        "slurm.time_min": 5,
        "slurm.setup": ('module load "x"', "b\tc"),
        "slurm.srun_args": (),
    },
)


@pytest.mark.parametrize("config", [RunConfig(), FULL])
def test_run_toml_gives_back_the_configuration_it_was_made_of(app, config):
    app.run.create(config, {})
    assert app.run.load_config() == config
    again = RunConfig(seed=4)
    app.run.update_config(again)
    assert app.run.load_config() == again


def test_every_key_survives_the_round_trip():
    table = to_table(FULL)
    assert apply_table(RunConfig(), table, "x") == FULL
    kept = {key for key, value, _ in flatten(FULL) if value is not None}
    assert {key for key, value, _ in flatten(apply_table(RunConfig(), table, "x")) if value is not None} == kept


def test_each_source_wins_over_the_one_before_it(app, monkeypatch, tmp_path):
    def seen(*words: str) -> tuple[int, ...]:
        config = config_of(parse_config_options(SubmitOptions, [f"run={app.path}", *words], "submit", "")[1])
        return (config.seed, config.workers, config.captions.per_concept, config.captions.batch_items)

    (tmp_path / "c.toml").write_text("[captions]\nper_concept = 30\nbatch-items = 31\n")
    assert seen() == (0, 0, 1, 256)
    app.run.create(with_values(RunConfig(), {"seed": 10, "captions.per_concept": 11, "captions.batch_items": 12}), {})
    assert seen() == (10, 0, 11, 12)
    assert seen("preset=laptop") == (10, 0, 240, 500)
    assert seen("preset=laptop", f"config={tmp_path}/c.toml") == (10, 0, 30, 31)
    assert seen(f"config={tmp_path}/c.toml", "captions.batch_items=41", "preset=laptop") == (10, 0, 30, 41)
    assert seen("--captions.per-concept", "40", f"--config={tmp_path}/c.toml") == (10, 0, 40, 31)


def test_the_home_directory_is_understood_in_a_path(app, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "c.toml").write_text("seed = 5\n")
    assert parse_config_options(SubmitOptions, ["config=~/c.toml"], "submit", "")[1].seed == 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sed = 1", ["unknown key 'sed'", "did you mean 'seed'"]),
        ("[captions]\nper_concpt = 1", ["unknown key 'captions.per_concpt'", "'captions.per_concept'"]),
        ("[slurm]\nparition = 'x'", ["'slurm.partition'"]),
        ("captions = 1", ["unknown key 'captions'"]),
        ("[seed]\nx = 1", ["unknown key 'seed.x'"]),
        ("seed = '1'", ["seed", "type str", "wanted: int"]),
        ("seed = 1.0", ["seed", "type float", "wanted: int"]),
        ("seed = true", ["seed", "type bool", "wanted: int"]),
        ("[concepts]\nbank = 1", ["concepts.bank", "type int", "wanted: str"]),
        ("[captions.template]\nitems_per_s = true", ["type bool", "wanted: float"]),
        ("[slurm]\nsetup = 'a'", ["slurm.setup", "type str"]),
        ("[slurm]\nsetup = [1]", ["slurm.setup", "type list"]),
        ("[slurm]\ntime_min = 'x'", ["slurm.time_min", "type str"]),
        ("seed = ", ["not valid TOML"]),
        ("run = 'x'", ["unknown key 'run'"]),
        ("wait = true", ["unknown key 'wait'"]),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(app, tmp_path, text, words):
    path = tmp_path / "c.toml"
    path.write_text(text)
    outcome = app("submit", "stage=captions", f"config={path}")
    assert outcome.code == 2
    for word in (str(path), *words):
        assert word in outcome.err
    assert not app.path.exists()


@pytest.mark.parametrize("data", [b"seed = '\xff'", b"\xff\xfe"])
def test_a_file_that_is_no_utf8_or_not_there_is_refused(app, tmp_path, data):
    (tmp_path / "c.toml").write_bytes(data)
    for path in ("c.toml", "no.toml", "."):
        outcome = app("submit", "stage=captions", f"config={path}")
        assert outcome.code == 2
        assert f"config={path}" in outcome.err


@pytest.mark.parametrize("value", ["nan", "inf", "-1"])
def test_a_speed_that_is_none_is_refused(app, value):
    assert app("submit", "stage=captions", f"captions.template.items_per_s={value}").code == 2
    assert not app.path.exists()


@pytest.mark.parametrize(
    "word",
    [
        "captions.per_concept=0",
        "captions.shard_items=0",
        "captions.batch_items=-1",
        "workers=-1",
        "concepts.limit=-1",
        "captions.engine=templat",
    ],
)
def test_a_number_out_of_range_is_refused_with_the_key_and_what_is_valid(app, word):
    outcome = app("submit", "stage=captions", word)
    assert outcome.code == 2
    assert word in outcome.err
    assert app.submissions() == []


def test_every_preset_is_a_valid_configuration():
    assert "laptop" in preset_names()
    for name in preset_names():
        assert apply_preset(RunConfig(), name) != RunConfig()


def test_a_profile_is_read_from_a_path_and_the_command_line_wins(app, tmp_path, fake_slurm):
    (tmp_path / "p.toml").write_text('[default]\npartition = "a"\ntime_min = 9\n[stage.captions]\npartition = "b"\n')
    words = ["submit", "stage=captions", "cluster=slurm", "dry-run=true", f"slurm.profile={tmp_path}/p.toml"]
    text = app(*words).out
    assert "#SBATCH --partition=b\n" in text and "#SBATCH --time=9\n" in text
    assert "#SBATCH --partition=c\n" in app(*words, "slurm.partition=c").out
    for wrong in ("no/such.toml", "a100"):
        outcome = app("submit", "stage=captions", "cluster=slurm", f"slurm.profile={wrong}")
        assert (outcome.code, f"slurm.profile={wrong!r}" in outcome.err) == (2, True)


def test_a_frozen_configuration_has_no_key_twice_and_no_null(app):
    app.run.create(FULL, {})
    table = tomllib.loads(app.run.config_path.read_text())
    assert table.pop("schema") == 1
    assert set(table) <= {item.name for item in dataclasses.fields(RunConfig)}
    assert set(table["slurm"]) <= {item.name for item in dataclasses.fields(SlurmConfig)}
