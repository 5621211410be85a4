"""Records of tasks: strict JSON, in one piece."""

from __future__ import annotations

import json

import numpy as np
import pytest

from evals.results import to_json, write_result

RECORD = {
    "task": "zero_shot",
    "protocol": "mine",
    "metrics": {"acc1": np.float32(0.5), "acc5": float("nan"), "top": float("-inf"), "images": np.int64(3)},
    "list": (1, np.array([0.25, np.inf])),
}
PLAIN = {
    "task": "zero_shot",
    "protocol": "mine",
    "metrics": {"acc1": 0.5, "acc5": None, "top": None, "images": 3},
    "list": [1, [0.25, None]],
}


def refuse(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


def test_file_and_stdout_hold_the_same_strict_json(tmp_path, capsys):
    write_result(RECORD, tmp_path / "out.json")
    text = (tmp_path / "out.json").read_text(encoding="utf-8")
    assert capsys.readouterr().out == text
    assert json.loads(text, parse_constant=refuse) == PLAIN


def test_without_a_file_it_only_prints(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_result(RECORD, None)
    assert json.loads(capsys.readouterr().out) == PLAIN
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_result_and_no_rest(tmp_path):
    out = tmp_path / "out.json"
    write_result(RECORD, out)
    before = out.read_bytes()
    with pytest.raises(TypeError):
        write_result({**RECORD, "odd": object()}, out)
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(OSError):
        write_result(RECORD, tmp_path / "folder.json")
    assert out.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.json", "out.json"]


def test_the_required_keys_are_required():
    with pytest.raises(ValueError, match="missing: protocol, metrics"):
        to_json({"task": "zero_shot"})


def test_what_cannot_be_written_has_been_printed_and_the_other_way_round(tmp_path, capsys, monkeypatch):
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(IsADirectoryError):
        write_result(RECORD, tmp_path / "folder.json")
    assert json.loads(capsys.readouterr().out) == PLAIN

    def fail(*_, **__):
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", fail)
    with pytest.raises(BrokenPipeError):
        write_result(RECORD, tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == PLAIN
