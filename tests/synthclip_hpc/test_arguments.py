from __future__ import annotations

import pytest

from synthclip_hpc.arguments import field_types, normalise, value_of
from synthclip_hpc.commands import SubmitOptions, parse_config_options
from synthclip_hpc.errors import UserError

TYPES = field_types(SubmitOptions)


@pytest.fixture
def parsed(app):
    """The options that a command line gives."""
    return lambda *words: parse_config_options(SubmitOptions, [f"run={app.path}", *words], "submit", "")[1]


@pytest.mark.parametrize(
    "words",
    [
        ["stage=captions"],
        ["--stage", "captions"],
        ["--stage=captions"],
        ["stage=render", "stage=captions"],
        ["--stage=render", "--stage", "captions"],
    ],
)
def test_a_text_is_given_in_three_spellings_and_the_last_one_counts(parsed, words):
    assert parsed(*words).stage == "captions"


@pytest.mark.parametrize(
    "words",
    [
        ["captions.shard_items=7"],
        ["captions.shard-items=7"],
        ["--captions.shard_items=7"],
        ["--captions.shard-items", "7"],
        ["--captions.shard_items", "7"],
    ],
)
def test_dots_address_nested_keys_and_dash_is_underscore(parsed, words):
    assert parsed(*words, "--stage", "captions").captions.shard_items == 7


@pytest.mark.parametrize("key", ["wait", "dry_run", "dry-run", "upstream", "assume-ended"])
@pytest.mark.parametrize(
    ("form", "wanted"),
    [
        (["{}=true"], True),
        (["{}=false"], False),
        (["--{}"], True),
        (["--no-{}"], False),
        (["--no_{}"], False),
        (["--{}=true"], True),
        (["--{}=false"], False),
        (["--{}", "true"], True),
        (["--{}", "false"], False),
        (["{}=false", "--{}"], True),
    ],
)
def test_a_boolean_is_given_in_every_spelling(parsed, key, form, wanted):
    options = parsed(*[word.format(key) for word in form], "stage=captions")
    assert getattr(options, key.replace("-", "_")) is wanted
    assert options.stage == "captions"


def test_a_bare_flag_does_not_swallow_the_next_key(parsed):
    options = parsed("--wait", "stage=captions", "--dry-run", "--seed", "3")
    assert (options.wait, options.stage, options.dry_run, options.seed) == (True, "captions", True, 3)


@pytest.mark.parametrize("value", ["yes", "True", "1", "", "on", "FALSE"])
def test_any_other_boolean_is_refused(parsed, value):
    with pytest.raises(UserError, match="wanted true or false"):
        parsed(f"wait={value}")
    with pytest.raises(UserError, match="wanted true or false"):
        parsed(f"--wait={value}")


def test_a_boolean_word_with_a_space_must_be_true_or_false():
    with pytest.raises(UserError, match="'maybe': not understood"):
        normalise(["--wait", "maybe"], TYPES)


@pytest.mark.parametrize("spelling", ["--no-wait=true", "--no-stage", "no-wait=true"])
def test_only_a_bare_flag_is_negated(spelling):
    with pytest.raises(UserError, match="unknown key"):
        normalise([spelling], TYPES)


@pytest.mark.parametrize("value", ["a=b", "a&(b|c)", "x y", "--x=1", "ü", "%A", "$(touch x)", "'", '"', "a=b=c"])
def test_a_value_may_hold_anything(parsed, value):
    assert parsed(f"slurm.constraint={value}").slurm.constraint == value
    assert parsed(f"--slurm.constraint={value}").slurm.constraint == value


def test_a_waiting_flag_takes_a_word_with_an_equals_sign_unless_it_is_a_key(parsed):
    assert parsed("--slurm.constraint", "a=b", "stage=captions").slurm.constraint == "a=b"
    assert normalise(["--config", "note=b"], TYPES) == ["--config", "note=b"]
    assert normalise(["--config", "seed=3"], TYPES) == ["--config", "--seed=3"]


def test_numbers_may_be_negative(parsed):
    assert parsed("seed=-3").seed == parsed("--seed", "-3").seed == parsed("--seed=-3").seed == -3


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("stge=captions", "'stage'"),
        ("--captions.perconcept=3", "'captions.per_concept'"),
        ("slurm.particion=gpu", "'slurm.partition'"),
        ("--dryrun", "'dry_run'"),
    ],
)
def test_an_unknown_key_names_the_nearest(app, word, near):
    outcome = app("submit", word)
    assert outcome.code == 2
    assert f"did you mean {near}" in outcome.err
    assert not app.path.exists()


@pytest.mark.parametrize(
    ("word", "near"),
    [("captions", "'stage=captions'"), ("captions,render", "'stage=captions,render'"), ("all", "'stage=all'")],
)
def test_a_bare_stage_is_taken_for_what_was_meant(app, word, near):
    outcome = app("submit", word)
    assert outcome.code == 2
    assert f"write key=value (did you mean {near}?)" in outcome.err


@pytest.mark.parametrize("word", ["captions", "-v", "-stage=captions", "=3", "--", "--=3", ""])
def test_a_stray_word_is_refused(app, word):
    outcome = app("submit", word, "stage=captions")
    assert outcome.code == 2, outcome
    assert not app.path.exists()


@pytest.mark.parametrize(
    "word",
    ["seed=x", "captions.per_concept=1.5", "workers=", "captions.template.items_per_s=fast", "slurm.time_min=1h"],
)
def test_a_value_of_the_wrong_type_is_refused_with_the_key(app, word):
    outcome = app("submit", "stage=captions", word)
    assert outcome.code == 2
    assert word.partition("=")[0].replace("_", "-") in outcome.words
    assert not app.path.exists()


@pytest.mark.parametrize("words", [["--stage"], ["stage=captions", "--seed"], ["--run"]])
def test_a_flag_without_its_value_is_refused(app, words):
    assert app("submit", *words, f"run={app.path}").code == 2


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["slurm.setup=module load cuda"], ("module load cuda",)),
        (["slurm.setup=export A=b"], ("export A=b",)),
        (["slurm.setup=[a, b]"], ("a", "b")),
        (["slurm.setup=[\"a, b\", 'c']"], ("a, b", "c")),
        (["slurm.setup=[a='x y', b]"], ("a='x y", "b")),
        (["slurm.setup=[]"], ()),
        (["--slurm.setup", "a", "b=c", "stage=captions"], ("a", "b=c")),
        (["slurm.setup=a", "slurm.setup=b"], ("b",)),
        (["slurm.setup=-x"], ("-x",)),
        (["slurm.setup=[-x, --y=1, z]"], ("-x", "--y=1", "z")),
    ],
)
def test_a_list_is_given_in_brackets_or_word_by_word(parsed, words, wanted):
    assert parsed(*words).slurm.setup == wanted


def test_srun_arguments_begin_with_dashes(parsed):
    assert parsed("slurm.srun_args=--mpi=pmix", "seed=1").slurm.srun_args == ("--mpi=pmix",)
    assert parsed("slurm.srun-args=[--mpi=pmix, --exclusive]").slurm.srun_args == ("--mpi=pmix", "--exclusive")


def test_an_optional_value_is_taken_back_with_none(parsed, tmp_path):
    (tmp_path / "c.toml").write_text('[slurm]\npartition = "gpu"\n')
    assert parsed(f"config={tmp_path}/c.toml").slurm.partition == "gpu"
    assert parsed(f"config={tmp_path}/c.toml", "slurm.partition=None").slurm.partition is None


def test_the_run_is_found_in_every_spelling_before_parsing():
    for words in (["run=a"], ["--run", "a"], ["--run=a"], ["run=b", "--run", "a"]):
        assert value_of("run", normalise(words, TYPES)) == "a"
    assert value_of("run", normalise(["--runx=a"], {"runx": str})) is None


@pytest.mark.parametrize("verb", ["submit", "resume", "status", "cancel", "verify", "repair"])
def test_every_verb_has_help_and_refuses_unknown_keys(app, verb):
    outcome = app(verb, "--help")
    assert outcome.code == 0
    assert "--run" in outcome.out
    assert app(verb, "nonsense=1").code == 2
