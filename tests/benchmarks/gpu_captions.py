"""`python -m tests.benchmarks.gpu_captions FOLDER`: captions and tokens a second of a Mistral-7B-shaped model on a GPU.

For a machine that has a GPU and perhaps nothing else: the model has Mistral-7B's shape and random weights, its
tokenizer 32,000 made-up words, so nothing is fetched. Random weights hardly ever end an answer: each has `--tokens`
tokens. Engines that are not installed are left out, and said so. `--shape tiny --device cpu` tries the script itself.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import time
from pathlib import Path

from sharding.ids import derive
from synthclip_hpc.captioning.engines.engine import Request
from synthclip_hpc.captioning.models.find import ModelFiles, find_model
from synthclip_hpc.captioning.prompts import fill, find_prompts
from synthclip_hpc.captioning.registry import open_engine
from synthclip_hpc.config import CaptionsConfig, VllmConfig

VOCABULARY = 32_000
SHAPES = {
    "mistral-7b": {
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 32_768,
    },
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 4096,
    },
}


def make_model(folder: Path, shape: str, device: str) -> ModelFiles:
    """Write a model of that shape with random weights in bfloat16, and a tokenizer; 15 GB for Mistral-7B's."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

    words = ["<unk>", "<s>", "</s>", *find_prompts("paper").draw(0).split()]
    vocabulary = list(dict.fromkeys([*words, *(f"word{number}" for number in range(VOCABULARY))]))[:VOCABULARY]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    fast.chat_template = "{{ bos_token }}[INST] {{ messages[0]['content'] }} [/INST]"
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        network = MistralForCausalLM(MistralConfig(vocab_size=VOCABULARY, **SHAPES[shape]))
    torch.set_default_dtype(torch.float32)
    network.save_pretrained(folder)
    return find_model(str(folder))


def measure(
    model: ModelFiles, engine: str, device: str, batch_items: int, tokens: int, rounds: int
) -> dict[str, object]:
    """Time `rounds` batches after a first one that warms up."""
    config = CaptionsConfig(
        engine=engine,
        device=device,
        dtype="bfloat16",
        max_tokens=tokens,
        batch_items=batch_items,
        vllm=VllmConfig(eager=device == "cpu"),
    )
    template = find_prompts("paper").draw(0)
    started = time.perf_counter()
    opened = open_engine(config, model)
    start_s = time.perf_counter() - started
    seconds = []
    for number in range(rounds + 1):
        items = range(number * batch_items, (number + 1) * batch_items)
        batch = [Request(f"word{item}", fill(template, f"word{item}"), derive(0, item, "benchmark")) for item in items]
        started = time.perf_counter()
        opened.generate(batch)
        seconds.append(time.perf_counter() - started)
    opened.close()
    pace = batch_items / statistics.median(seconds[1:])
    return {
        "engine": engine,
        "batch_items": batch_items,
        "start_s": round(start_s, 1),
        "captions_per_s": round(pace, 1),
        "tokens_per_s": round(pace * tokens),
    }


def main() -> int:
    """Print one JSON line an engine and batch size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the model is written (15 GB); taken as it is when it is there")
    parser.add_argument("--shape", choices=SHAPES, default="mistral-7b")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--engines", default="transformers,vllm")
    parser.add_argument("--batches", default="64,256", help="batch sizes, comma-separated")
    parser.add_argument("--tokens", type=int, default=30, help="tokens of an answer")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if (given.folder / "config.json").exists():
        model = find_model(str(given.folder))
    else:
        model = make_model(given.folder, given.shape, given.device)
    for engine in given.engines.split(","):
        if importlib.util.find_spec(engine) is None:
            print(json.dumps({"engine": engine, "left_out": "not installed here"}), flush=True)
            continue
        for batch_items in map(int, given.batches.split(",")):
            told = measure(model, engine, given.device, batch_items, given.tokens, given.rounds)
            print(json.dumps({"shape": given.shape, **told}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
