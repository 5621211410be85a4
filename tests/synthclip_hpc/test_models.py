"""Finding a language model: what is refused, what is told, and what the fingerprint depends on."""

from __future__ import annotations

import builtins
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from synthclip_hpc.captioning.models.find import find_model, local_path
from synthclip_hpc.errors import UserError
from synthclip_hpc.models.offline import go_offline
from tests.synthclip_hpc.model_folders import FILES, make_model, make_snapshot, write_json

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER_COMMIT = "fedcba9876543210fedcba9876543210fedcba98"
MISTRAL = "mistralai/Mistral-7B-Instruct-v0.2"
CHUNK_BYTES = 64 << 10


@pytest.fixture(autouse=True)
def _same_environment() -> Iterator[None]:
    """Looking for a model takes this process offline; other tests are not to depend on it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache; skips where the package that reads it is missing."""
    constants = pytest.importorskip("huggingface_hub.constants", reason="huggingface_hub is not installed")
    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    return cache


def fingerprint(folder: Path) -> str:
    return find_model(str(folder)).fingerprint


def refusal(model: object, revision: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        find_model(str(model), revision)
    return str(caught.value)


# ---- local folders


def test_a_whole_folder_is_found_by_any_of_its_paths(tmp_path, monkeypatch):
    folder = make_model(tmp_path / "my-model")
    found = find_model(str(folder))
    assert (found.name, found.path, found.max_tokens, found.revision) == ("my-model", folder, 4096, None)
    assert local_path(found) == folder
    monkeypatch.chdir(folder)
    assert find_model(".") == found
    monkeypatch.chdir(tmp_path)
    assert find_model("my-model") == found
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_model("~/my-model") == found


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("config.json", "has no config.json"),
        ("model.safetensors", "has no weights"),
        ("tokenizer.json", "has no tokenizer"),
        ("tokenizer_config.json", "has no chat template"),
    ],
)
def test_each_missing_file_is_a_message_of_its_own(tmp_path, missing, told):
    folder = make_model(tmp_path / "m")
    (folder / missing).unlink()
    message = refusal(folder)
    assert message.startswith(f"captions.model=m: {folder} {told}")


def test_a_base_model_is_sent_for_its_instruct_version(tmp_path):
    folder = make_model(tmp_path / "m")
    write_json(folder / "tokenizer_config.json", {"model_max_length": 100})
    assert "take its instruct or chat version" in refusal(folder)
    # What image processors read does not help a tokenizer.
    write_json(folder / "chat_template.json", {"chat_template": "x"})
    assert "has no chat template" in refusal(folder)


@pytest.mark.parametrize(
    ("templates", "accepted"),
    [([{"name": "default", "template": "x"}], True), ([{"name": "tool_use", "template": "x"}], False), ([], False)],
)
def test_of_several_chat_templates_one_must_be_the_default(tmp_path, templates, accepted):
    folder = make_model(tmp_path / "m")
    write_json(folder / "tokenizer_config.json", {"chat_template": templates})
    if accepted:
        assert find_model(str(folder)).name == "m"
    else:
        assert "has no chat template" in refusal(folder)


def test_a_chat_template_may_be_a_file_of_its_own(tmp_path):
    folder = make_model(tmp_path / "m")
    (folder / "tokenizer_config.json").unlink()
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert find_model(str(folder)).name == "m"


@pytest.mark.parametrize(
    ("names", "accepted"),
    [(["tokenizer.model"], True), (["vocab.json", "merges.txt"], True), (["vocab.txt"], True), (["vocab.json"], False)],
)
def test_tokenizers_of_every_kind_are_known(tmp_path, names, accepted):
    folder = make_model(tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    for name in names:
        (folder / name).write_text("{}")
    if accepted:
        assert find_model(str(folder)).name == "m"
    else:
        assert "has no tokenizer" in refusal(folder)


@pytest.mark.parametrize("content", ["{", "[1]", "\udcff"])
def test_an_unreadable_config_is_told(tmp_path, content):
    folder = make_model(tmp_path / "m")
    (folder / "config.json").write_bytes(content.encode(errors="surrogateescape"))
    assert "has a config.json that" in refusal(folder)


def test_missing_shards_are_counted_and_named(tmp_path):
    folder = make_model(tmp_path / "m", shards=4)
    assert find_model(str(folder)).name == "m"
    (folder / "model-00002-of-00004.safetensors").unlink()
    (folder / "model-00004-of-00004.safetensors").unlink()
    message = refusal(folder)
    assert "lacks 2 of the 4 weight files" in message
    assert "the first is model-00002-of-00004.safetensors" in message


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: b"",
        lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 14483464192\n",
        lambda data: (2).to_bytes(8, "little") + b"[]",
    ],
    ids=["cut", "longer", "empty", "pointer", "no-header"],
)
def test_weights_that_are_not_whole_are_refused(tmp_path, damage):
    folder = make_model(tmp_path / "m", shards=2)
    shard = folder / "model-00002-of-00002.safetensors"
    shard.write_bytes(damage(shard.read_bytes()))
    assert "has a model-00002-of-00002.safetensors that is cut short or no safetensors file" in refusal(folder)


def test_an_index_without_shards_is_refused(tmp_path):
    folder = make_model(tmp_path / "m", shards=2)
    write_json(folder / "model.safetensors.index.json", {"weight_map": {}})
    assert "without a weight_map" in refusal(folder)


def test_weights_may_be_pytorch_files(tmp_path):
    folder = make_model(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert find_model(str(folder)).name == "m"


@pytest.mark.parametrize(
    ("config", "max_tokens"),
    [
        ({"max_position_embeddings": 32768, "model_max_length": 8192}, 8192),
        ({"n_positions": 1024}, 1024),
        ({"text_config": {"max_position_embeddings": 131072}}, 131072),
        ({"max_position_embeddings": None}, 2048),
        ({}, 2048),
    ],
)
def test_the_context_length_is_read_wherever_configurations_keep_it(tmp_path, config, max_tokens):
    folder = make_model(tmp_path / "m")
    write_json(folder / "config.json", config)
    assert find_model(str(folder)).max_tokens == max_tokens


# ---- fingerprint


def test_a_copy_has_the_same_fingerprint_and_files_that_do_not_matter_do_not_count(tmp_path):
    folder = make_model(tmp_path / "a", shards=3)
    copy = Path(shutil.copytree(folder, tmp_path / "b" / "elsewhere"))
    before = fingerprint(folder)
    assert fingerprint(copy) == before
    for name in ("README.md", ".gitattributes", "optimizer.pt", "picture.png", "pytorch_model.bin"):
        (copy / name).write_bytes(b"x")
    assert fingerprint(copy) == before


@pytest.mark.parametrize("name", [*FILES, "chat_template.jinja", "merges.txt", "special_tokens_map.json"])
def test_every_file_that_matters_changes_the_fingerprint(tmp_path, name):
    folder = make_model(tmp_path / "m")
    before = fingerprint(folder)
    with (folder / name).open("a") as file:
        file.write(" ")
    assert fingerprint(folder) != before


def test_weights_change_the_fingerprint_at_both_ends_and_by_their_length(tmp_path):
    size = 300 * CHUNK_BYTES
    prints = [
        fingerprint(make_model(tmp_path / str(number), data=data))
        for number, data in enumerate(
            [bytes(size), b"x" + bytes(size - 1), bytes(size - 1) + b"x", bytes(size - 1), bytes(size + 1)]
        )
    ]
    assert len(set(prints)) == 5


def test_half_a_download_of_full_length_and_a_fine_tune_of_one_part_in_forty_are_told(tmp_path):
    size = 400 * CHUNK_BYTES
    whole = fingerprint(make_model(tmp_path / "whole", data=b"w" * size))
    half = fingerprint(make_model(tmp_path / "half", data=b"w" * (size // 2) + bytes(size // 2)))
    at, length = 123 * CHUNK_BYTES, 10 * CHUNK_BYTES
    tuned = fingerprint(make_model(tmp_path / "tuned", data=b"w" * at + b"t" * length + b"w" * (size - at - length)))
    assert len({whole, half, tuned}) == 3


def many_tensors(folder: Path, sizes: list[int], changed: int | None = None) -> Path:
    """A model whose weights are one file with tensors of these sizes; `changed` is the one with other bytes."""
    make_model(folder)
    header, data, start = {}, b"", 0
    for number, size in enumerate(sizes):
        header[f"w{number}"] = {"dtype": "U8", "shape": [size], "data_offsets": [start, start + size]}
        data += (b"x" if number == changed else b"w") * size
        start += size
    head = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + data)
    return folder


def test_a_change_of_any_one_tensor_is_told_however_small_it_is_beside_the_others(tmp_path):
    sizes = [17 << 20, 1, 700, 23 << 20, 3000, 0, 5 << 20]
    before = fingerprint(many_tensors(tmp_path / "m", sizes))
    assert fingerprint(many_tensors(tmp_path / "m", sizes)) == before
    prints = {fingerprint(many_tensors(tmp_path / "m", sizes, changed)) for changed in (0, 1, 2, 3, 4, 6)}
    assert len(prints | {before}) == 7


def test_the_header_counts_as_a_whole(tmp_path):
    folder = make_model(tmp_path / "m")
    before = fingerprint(folder)
    renamed = (folder / "model.safetensors").read_bytes().replace(b'"w"', b'"v"')
    (folder / "model.safetensors").write_bytes(renamed)
    assert fingerprint(folder) != before


@pytest.mark.parametrize("num_tensors", [1, 97, 500])
def test_little_of_a_large_model_is_read(tmp_path, monkeypatch, num_tensors):
    folder = make_model(tmp_path / "m", shards=3)
    size = (5 << 30) // num_tensors
    tensors = {
        f"w{number}": {"dtype": "U8", "shape": [size], "data_offsets": [number * size, (number + 1) * size]}
        for number in range(num_tensors)
    }
    for shard in sorted(folder.glob("model-*.safetensors")):
        header = json.dumps(tensors).encode()
        shard.write_bytes(len(header).to_bytes(8, "little") + header)
        with shard.open("r+b") as file:
            file.truncate(8 + len(header) + num_tensors * size)  # a hole: 5 GiB that take no space
    read = []
    pread = os.pread

    def counted(descriptor: int, length: int, offset: int) -> bytes:
        read.append(length)
        return pread(descriptor, length, offset)

    monkeypatch.setattr("os.pread", counted)
    assert find_model(str(folder)).name == "m"
    assert 20 << 20 < sum(read) <= 48 << 20
    assert len(read) >= 3 * num_tensors


# ---- no network, nothing beside the model


def test_looking_for_a_model_takes_this_process_offline_before_the_hubs_library_is_there(tmp_path):
    pytest.importorskip("huggingface_hub")
    program = (
        "import os; os.environ.pop('HF_HUB_OFFLINE', None)\n"
        "from synthclip_hpc.captioning.models.find import find_model\n"
        "try:\n    find_model('no/such-model')\nexcept ValueError as error:\n    print(error)\n"
        "import huggingface_hub; print(huggingface_hub.constants.HF_HUB_OFFLINE, os.environ['HF_HUB_OFFLINE'])"
    )
    environment = os.environ | {"HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    told, *_, last = done.stdout.splitlines()
    assert "is not in the local Hugging Face cache" in told
    assert last == "True 1"


def test_a_hub_library_that_is_there_already_is_told(monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    go_offline()
    assert constants.HF_HUB_OFFLINE is True


def test_an_adapter_beside_a_model_is_refused(tmp_path):
    folder = make_model(tmp_path / "m")
    write_json(folder / "adapter_config.json", {"peft_type": "LORA"})
    assert "has an adapter_config.json" in refusal(folder)
    assert "merge_and_unload" in refusal(folder)


def test_a_name_that_no_folder_can_have_is_refused():
    for name, told in (("~nobody-of-this-name/x", "there is no such user"), ("x" * 5000, "too long")):
        assert told in refusal(name)


def test_a_model_tells_what_a_marker_is_to_say_of_it(tmp_path):
    folder = make_model(tmp_path / "m")
    assert find_model(str(folder)).provenance() == {
        "name": "m",
        "path": str(folder),
        "revision": None,
        "fingerprint": fingerprint(folder),
    }


# ---- hub ids


def test_a_hub_id_is_found_in_the_cache_at_main_or_at_a_revision(hub_cache):
    snapshot = make_snapshot(hub_cache, MISTRAL, COMMIT, shards=3)
    older = make_snapshot(hub_cache, MISTRAL, OTHER_COMMIT, ref="v1")
    found = find_model(MISTRAL)
    assert (found.name, found.path, found.revision) == (MISTRAL, snapshot, COMMIT)
    assert find_model(MISTRAL, COMMIT) == found
    for revision in ("v1", OTHER_COMMIT):
        assert find_model(MISTRAL, revision).path == older
    assert find_model(MISTRAL, "v1").fingerprint != found.fingerprint


def test_a_copy_of_a_snapshot_in_a_plain_folder_has_the_same_fingerprint(hub_cache, tmp_path):
    snapshot = make_snapshot(hub_cache, MISTRAL, COMMIT, shards=3)
    copy = Path(shutil.copytree(snapshot, tmp_path / "copy"))
    assert not any(path.is_symlink() for path in copy.iterdir())
    assert find_model(str(copy)).fingerprint == find_model(MISTRAL).fingerprint


@pytest.mark.parametrize(("revision", "option"), [(None, ""), ("v9", " --revision v9")])
def test_a_model_that_is_not_in_the_cache_comes_with_the_command_that_fetches_it(hub_cache, revision, option):
    make_snapshot(hub_cache, MISTRAL, COMMIT, ref="v1")
    message = refusal(MISTRAL, revision)
    assert f"hf download {MISTRAL}{option} (compute nodes need no internet afterwards" in message
    assert str(hub_cache) in message
    assert message.endswith("or give a local folder")


def test_a_snapshot_whose_weights_never_arrived_is_refused(hub_cache):
    snapshot = make_snapshot(hub_cache, MISTRAL, COMMIT)
    (snapshot / "model.safetensors").resolve().unlink()
    assert "has no weights" in refusal(MISTRAL)


def test_a_slip_in_the_registry_model_s_name_is_noticed(hub_cache):
    assert "did you mean 'smollm2'?" in refusal("smolm2")


def test_without_huggingface_hub_a_hub_id_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "huggingface_hub":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "pip install 'synthclip-hpc[captions]'" in refusal(MISTRAL)


@pytest.mark.parametrize("model", ["", "/no/such/folder", "./missing", "a/b/c", "what is this?"])
def test_what_is_neither_folder_nor_hub_id_is_refused(tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    message = refusal(model)
    assert message.startswith(f"captions.model={model}: there is no such folder")


def test_a_revision_needs_a_hub_id(tmp_path):
    for model in (str(make_model(tmp_path / "m")), "smollm2"):
        assert refusal(model, "v1").startswith("captions.revision=v1: only a model from the Hugging Face hub")


def test_finding_a_model_loads_no_torch(tmp_path):
    folder = make_model(tmp_path / "m")
    program = (
        "import sys; from synthclip_hpc.captioning.models.find import find_model; "
        f"find_model({str(folder)!r}); print([m for m in ('torch', 'transformers', 'gguf') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
