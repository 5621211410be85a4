"""Names that no file can have are told by their key, wherever a path may be given."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthclip_hpc.errors import UserError
from synthclip_hpc.paths import path_of

KEYS = ("concepts.bank", "concepts.exclude", "captions.prompt", "captions.model", "config")
PASTED = "Write a caption for {concept}.\n" * 20


@pytest.mark.parametrize("key", [*KEYS, "slurm.profile"])
@pytest.mark.parametrize("command", ["submit", "preview"])
def test_the_home_of_a_user_nobody_knows_is_a_mistake_told_by_its_key(app, key, command):
    words = ["stage=captions"] if command == "submit" else ["concept=fox"]
    outcome = app(command, *words, f"{key}=~nobody-of-that-name/x")
    assert (outcome.code, f"{key}=~nobody-of-that-name/x: there is no such user" in outcome.words) == (2, True), outcome
    assert not app.path.exists()


@pytest.mark.parametrize("key", KEYS)
def test_a_text_in_place_of_a_file_is_told_by_its_key_and_cut_short(app, key):
    outcome = app("submit", "stage=captions", f"{key}={PASTED}")
    assert outcome.code == 2
    assert f"{key}=Write a caption for {{concept}}." in outcome.words
    assert "put it into a file and name that" in outcome.words
    assert len(outcome.err) < 300
    assert not app.path.exists()


@pytest.mark.parametrize("key", KEYS[:4])
def test_a_name_with_a_nul_byte_is_told_by_its_key(app, tmp_path, key):
    stage, leaf = key.split(".")
    (tmp_path / "own.toml").write_text(f'[{stage}]\n{leaf} = "a\\u0000b"\n')
    outcome = app("submit", "stage=captions", f"config={tmp_path / 'own.toml'}")
    assert (outcome.code, f"{key}='a\\x00b': no file can have this name" in outcome.words) == (2, True), outcome


def test_a_path_need_not_exist_and_home_is_put_in(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert path_of("captions.model", "~/no/such") == tmp_path / "no/such"
    assert path_of("captions.model", "mistralai/Mistral-7B") == Path("mistralai/Mistral-7B")
    with pytest.raises(UserError, match=r"captions\.model=y+…: too long"):
        path_of("captions.model", "y" * 256)
