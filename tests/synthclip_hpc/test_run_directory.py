"""Where a run lives: found in a fixed order, private, never another's, refused with a reason when it cannot be."""

from __future__ import annotations

import dataclasses
import json
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from synthclip_hpc.run import Run, resolve_run
from tests.synthclip_hpc.app import App, Outcome, call, command_line, environment, same_set, tree

SMALL = ("stage=captions", "concepts.limit=10", "cluster=local")


@pytest.fixture
def small(app, at_once) -> App:
    assert app("submit", *SMALL).code == 0
    return app


def test_the_run_is_the_argument_then_the_variable_then_where_one_stands_then_the_default(small, monkeypatch):
    here = Path.cwd()
    assert resolve_run(None, {}) == Run(here / "runs/default")
    (small.path / "captions" / "deep").mkdir()
    monkeypatch.chdir(small.path / "captions" / "deep")
    assert resolve_run(None, {}) == Run(small.path)
    assert resolve_run(None, {"SYNTHCLIP_RUN": ""}) == Run(small.path)
    assert resolve_run(None, {"SYNTHCLIP_RUN": "x"}) == Run(Path.cwd() / "x")
    assert resolve_run("../y", {"SYNTHCLIP_RUN": "x"}).path.resolve() == small.path / "captions" / "y"
    assert resolve_run("~/y", {}) == Run(Path.home() / "y")
    monkeypatch.chdir(here)
    (here / "run.toml").write_text("")
    assert resolve_run(None, {}) == Run(here / "runs/default"), "a lone run.toml is someone else's"


def test_commands_work_from_inside_a_run_without_naming_it(small, monkeypatch):
    monkeypatch.chdir(small.path / "captions" / "write")
    assert str(small.path) in call("status", "--once").words
    assert call("verify").code == 0


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_the_directory_is_private_whatever_the_umask(app, at_once, mask):
    before = os.umask(mask)
    try:
        assert app("submit", *SMALL).code == 0
    finally:
        os.umask(before)
    assert app.path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("word", "key", "recorded", "asked"),
    [
        ("seed=1", "seed", "0", "1"),
        ("captions.per_concept=2", "captions.per_concept", "1", "2"),
        ("captions.shard_items=7", "captions.shard_items", "1000", "7"),
        ("captions.batch_items=7", "captions.batch_items", "256", "7"),
        ("concepts.limit=9", "concepts.limit", "10", "9"),
    ],
)
def test_another_configuration_is_refused_with_the_difference_and_nothing_changes(small, word, key, recorded, asked):
    before = tree(small.path)
    for verb, words in (("submit", ("stage=captions", word)), ("resume", (word,))):
        outcome = small(verb, *words)
        assert outcome.code == 2, outcome
        assert f"{key}: the run has {recorded}, asked {asked}" in outcome.err, outcome.err
        assert "new run directory" in outcome.err
        assert tree(small.path) == before


@pytest.mark.parametrize("verb", ["submit", "resume", "status", "cancel", "verify", "repair"])
@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_run_that_is_a_file_is_refused(app, verb, place):
    path = app.path.parent / "file"
    path.write_text("mine")
    words = SMALL if verb == "submit" else ()
    outcome = call(verb, *words, f"run={app.path.parent / place}")
    assert outcome.code == 2, outcome
    assert "file" in outcome.err
    assert path.read_text() == "mine"


def test_a_folder_with_other_things_in_it_is_not_strewn_over(app, at_once):
    app.path.mkdir()
    (app.path / "thesis.tex").write_text("mine")
    outcome = app("submit", *SMALL)
    assert outcome.code == 2
    assert "thesis.tex" in outcome.err
    assert tree(app.path) == {"thesis.tex": b"mine"}


def test_an_empty_folder_is_taken(app, at_once):
    app.path.mkdir()
    assert app("submit", *SMALL).code == 0


@pytest.mark.parametrize("name", ['it\'s "new\nline"; & *', "$(touch x)`touch x`%A\\", "-dash ünï 🐕"])
def test_a_local_run_works_under_any_name(app, name):
    path = app.path.parent / name
    outcome = call("submit", *SMALL, f"run={path}", "wait=true")
    assert outcome.code == 0, outcome
    assert len(same_set(path)) == 4
    for verb in ("verify", "resume", "status", "cancel"):
        assert call(verb, f"run={path}").code == 0
    assert not (app.path.parent / "x").exists()


def test_a_name_that_is_no_utf8_is_worked_with_or_refused_but_no_crash(app):
    given = [*command_line("submit", *SMALL, "wait=true")]
    words = [*map(os.fsencode, given), b"run=" + os.fsencode(app.path.parent) + b"/x\xff"]
    done = subprocess.run(words, capture_output=True, env=environment(), timeout=60, check=False)
    assert done.returncode in (0, 2), done.stderr
    assert b"Traceback" not in done.stderr


def test_a_relative_run_works_from_any_directory_later(app, monkeypatch):
    assert call("submit", *SMALL, "run=here/r", "wait=true").code == 0
    monkeypatch.chdir("/")
    assert call("resume", f"run={app.path.parent}/here/r").code == 0


def as_nobody(folder: Path, verb: str, *words: str) -> Outcome:
    """Run a command with the rights of nobody, in a fork: another user may not even reach this interpreter's files."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.chdir(folder)
            os.setgroups([])
            os.setegid(pwd.getpwnam("nobody").pw_gid)
            os.seteuid(pwd.getpwnam("nobody").pw_uid)
            outcome = call(verb, *words)
        except BaseException as error:
            outcome = Outcome(-1, "", f"Traceback {error!r}")
        os.write(writer, json.dumps(dataclasses.astuple(outcome)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        data = answer.read()
    os.waitpid(child, 0)
    return Outcome(*json.loads(data))


@pytest.fixture
def others(small) -> Iterator[Path]:
    """A folder of ours that another user can look into; every module that a command needs is loaded by now."""
    if os.geteuid() != 0:
        pytest.skip("only root may become another user")
    for verb in ("resume", "status", "verify", "repair", "cancel"):
        assert small(verb).code == 0
    folder = Path(tempfile.mkdtemp(prefix="synthclip-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_place_that_may_not_be_written_is_refused(others):
    outcome = as_nobody(others, "submit", *SMALL, f"run={others}/r")
    assert outcome.code == 2, outcome
    assert "cannot be written (Permission denied)" in outcome.err
    assert list(others.iterdir()) == []


def test_the_run_of_another_user_is_refused_and_not_changed(others):
    path = others / "r"
    assert call("submit", *SMALL, f"run={path}").code == 0
    (path / "captions/write/seal.json").unlink()  # or there would be nothing to do
    before = tree(path)
    for mode in (0o700, 0o755):
        path.chmod(mode)
        for verb in ("submit", "resume", "repair", "cancel", "status", "verify"):
            words = SMALL if verb == "submit" else ("cluster=local",) if verb == "resume" else ()
            outcome = as_nobody(others, verb, *words, f"run={path}")
            assert "Traceback" not in outcome.err, outcome.err
            if mode == 0o700 or verb in ("submit", "resume"):
                assert outcome.code == 2, (verb, outcome)
                assert "not allowed" in outcome.err or "Permission denied" in outcome.err
            else:
                assert outcome.code == 0, (verb, outcome)
            assert tree(path) == before


def test_a_bank_that_may_not_be_read_is_refused(others):
    bank = others / "bank.txt"
    bank.write_text("cat\n")
    bank.chmod(0o600)
    outcome = as_nobody(others, "submit", "stage=captions", "cluster=local", f"concepts.bank={bank}", "dry-run=true")
    assert outcome.code == 2, outcome
    assert f"concepts.bank={bank}: cannot be read: Permission denied" in outcome.err


def test_a_read_only_file_system_is_refused(app, at_once):
    if os.geteuid() != 0:
        pytest.skip("a file system can only be mounted as root")
    folder = app.path.parent / "mounted"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)]
    mounted = subprocess.run(words, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system may be mounted here: {mounted.stderr!r}")
    try:
        outcome = call("submit", *SMALL, f"run={folder}/r")
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    assert outcome.code == 2, outcome
    assert "cannot be written (Read-only file system)" in outcome.err
