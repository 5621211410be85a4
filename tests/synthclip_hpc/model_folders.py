"""Makes tiny model folders for tests: everything an engine opens, a few bytes each."""

from __future__ import annotations

import json
from pathlib import Path

FILES = {
    "config.json": {"model_type": "llama", "max_position_embeddings": 4096},
    "generation_config.json": {"eos_token_id": 2},
    "tokenizer.json": {"model": {"type": "BPE"}},
    "tokenizer_config.json": {"chat_template": "{{ messages[0]['content'] }}"},
}


def safetensors(data: bytes) -> bytes:
    """A safetensors file with one tensor of bytes."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [len(data)], "data_offsets": [0, len(data)]}}).encode()
    return len(header).to_bytes(8, "little") + header + data


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def make_model(folder: Path, shards: int = 1, data: bytes = b"weights") -> Path:
    """A folder with configuration, tokenizer, chat template and weights in so many shards."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in FILES.items():
        write_json(folder / name, value)
    if shards == 1:
        (folder / "model.safetensors").write_bytes(safetensors(data))
        return folder
    names = [f"model-{number:05}-of-{shards:05}.safetensors" for number in range(1, shards + 1)]
    for name in names:
        (folder / name).write_bytes(safetensors(data + name.encode()))
    write_json(folder / "model.safetensors.index.json", {"weight_map": {f"w{n}": name for n, name in enumerate(names)}})
    return folder


def make_snapshot(cache: Path, model: str, commit: str, ref: str = "main", shards: int = 1) -> Path:
    """A hub model as the Hugging Face cache lays it out: links into blobs. Returns the snapshot's folder."""
    repository = cache / f"models--{model.replace('/', '--')}"
    blobs, snapshot = repository / "blobs", repository / "snapshots" / commit
    blobs.mkdir(parents=True, exist_ok=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(make_model(cache / "made", shards).iterdir())):
        blob = file.rename(blobs / f"{commit}-{number}")
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / ref).write_text(commit)
    return snapshot
