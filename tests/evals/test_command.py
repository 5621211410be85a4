"""`python -m evals`: what is printed and written, and how mistakes are told."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytest

from evals.__main__ import TASKS, main
from evals.errors import EvalError
from evals.options import describe, parse, split_words
from tests.evals import small_world

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Sample:
    data: Annotated[str, "a folder"]
    size: Annotated[int, "a number"] = 3
    share: Annotated[float | None, "a share"] = None
    kind: Annotated[Literal["one", "two"], "a choice"] = "one"
    loud: Annotated[bool, "or not"] = False


def test_words_become_options_of_their_types() -> None:
    lone, given = split_words(
        ["data=a=b", "--size=4", "--share", "0.5", "word", "--kind", "two", "loud=true"], "the word"
    )
    assert lone == "word"
    assert parse(Sample, given, "sample") == Sample(data="a=b", size=4, share=0.5, kind="two", loud=True)
    assert parse(Sample, {"data": "", "share": "none"}, "sample") == Sample(data="")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data"], "data: no key=value"),
        (["--data"], "--data: needs a value; write --data VALUE or data=VALUE"),
        (["--data", "--size=3"], "--data: needs a value"),
        (["--sise", "3", "--data", "a"], "sise=3: sample has no such key"),
        (["data=a", "data=b"], "data=b: given twice"),
        (["data=a", "sise=3"], r"sise=3: sample has no such key \(did you mean 'size'\?\); its keys are data, size"),
        (["size=3"], "data=: sample needs it: a folder"),
        (["data=a", "size=3.5"], "size=3.5: no whole number"),
        (["data=a", "share=much"], "share=much: no number"),
        (["data=a", "kind=tow"], r"kind=tow \(did you mean 'two'\?\): valid are one, two"),
        (["data=a", "loud=yes"], "loud=yes: valid are true and false"),
    ],
)
def test_a_wrong_word_is_told(words: list[str], message: str) -> None:
    with pytest.raises(EvalError, match=message):
        parse(Sample, split_words(words)[1], "sample")


def test_a_lone_word_that_is_wanted_is_there_once() -> None:
    for words, message in [
        (["a", "b"], "b: no key=value"),
        (["data=a"], "data=a: the task is missing; write it first"),
    ]:
        with pytest.raises(EvalError, match=message):
            split_words(words, "the task")


def test_keys_are_described_with_their_defaults() -> None:
    lines = [line.split() for line in describe(Sample).splitlines()]
    assert [line[0] for line in lines] == ["data=…", "size=3", "share=none", "kind=one", "loud=false"]


def test_help_lists_every_task_and_every_key_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(task in printed for task in TASKS)
    for task in TASKS:
        assert main([task, "--help"]) == 0
        assert "out=" in capsys.readouterr().out


def test_mistakes_exit_with_2_and_one_line(tmp_path: Path) -> None:
    for words, message in [
        (["zero_shoot"], "zero_shoot (did you mean 'zero_shot'?): no such task"),
        (["--data", "x", "retrieval"], "model=: retrieval needs it"),
        (["retrieval", f"data={tmp_path}", "model=x"], "no data set in CLIP_benchmark's layout"),
        (["retrieval", "data=x", "model=x", f"out={tmp_path}/none/a.json"], "there is no such folder; make it first"),
    ]:
        done = subprocess.run(
            [sys.executable, "-m", "evals", *words], cwd=REPOSITORY, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2 and done.stdout == ""
        assert message in done.stderr and len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["delta_mtl", "model=1", "baseline=1", "out={folder}"], r"out=.*: a folder; give the name of a file"),
        (["extract", "data={folder}", "model=x", "npz={folder}/a.npz"], r"npz=.*: no name of an \.npz file"),
    ],
)
def test_a_folder_in_the_place_of_a_result_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    (tmp_path / "a.npz").mkdir()
    with pytest.raises(EvalError, match=message):
        main([word.format(folder=tmp_path) for word in words])
    assert capsys.readouterr().out == ""


@pytest.mark.engines
def test_a_task_prints_and_writes_strict_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("open_clip")
    data = small_world.write_classification(tmp_path / "data", images=24)
    small_world.write_texts(data, small_world.CLASSES, ["{c}"])
    model = small_world.write_model(tmp_path / "model")
    few = tmp_path / "few.txt"
    few.write_text("0\n1\n2\n")
    common = [f"data={data}", f"model={model}/open_clip_config.json", f"pretrained={model}/open_clip_model.safetensors"]
    assert main(["zero_shot", *common, "workers=0", f"classes={few}", f"out={tmp_path}/a.json"]) == 0
    printed = capsys.readouterr().out

    def refuse(word: str) -> None:
        raise AssertionError(word)

    result = json.loads(printed, parse_constant=refuse)
    assert result == json.loads((tmp_path / "a.json").read_text())
    assert result["metrics"]["acc5"] is None and result["task"] == "zero_shot" and result["protocol"]
    assert result["batch_size_used"] == 64
    assert result["model"]["preprocess"] == result["preprocess"] and result["preprocess"]["mean"] == [0.5, 0.4, 0.3]
    assert result["model"]["tokenizer"].startswith("SimpleTokenizer ")
    assert {"torchvision", "pillow"} < result["provenance"].keys()


@pytest.mark.engines
def test_extracted_features_are_what_the_probes_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("open_clip")
    data = small_world.write_classification(tmp_path / "data", images=24)
    (data / "train").mkdir()
    for path in (data / "test").iterdir():
        (data / "train" / path.name).write_bytes(path.read_bytes())
    model = small_world.write_model(tmp_path / "model")
    out = tmp_path / "features.npz"
    assert main(["extract", f"data={data}", f"model={model}", "workers=0", f"npz={out}"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["arrays"]["train_features"] == [24, 256] and told["batch_size_used"] == 64
    with np.load(out) as arrays:
        assert sorted(arrays) == ["test_features", "test_labels", "train_features", "train_labels"]
        assert np.array_equal(arrays["train_features"], arrays["test_features"])
        assert arrays["test_labels"].dtype == np.int64
