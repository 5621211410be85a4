"""The captions stage with a language model, beside the bare library that it uses: same model, prompts, batch, process.

Ours is all that a worker does for a shard: prompts, engine, clean-up, checks, partial file, Parquet, marker, journal.
`transformers`: bare is `generate(do_sample=True, temperature, top_p)`, without penalties and with one generator for
all rows. The texts differ, so no answer may end before its last token, on both sides (no end-of-text token; top_k,
which the library would add by itself, is off). `vllm`: bare is `LLM.chat` with one SamplingParams a prompt, seeds and
penalties included; both sides write the same texts, and that is checked.

The two sides take turns, and the ratio is the median over rounds, because the machine has other work to do. Run as a
module, `transformers|vllm FOLDER`, it prints one comparison as JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sharding.journal import Journal
from synthclip_hpc.captioning.engines.chat import Chat
from synthclip_hpc.captioning.engines.engine import Engine, Request
from synthclip_hpc.captioning.registry import open_engine
from synthclip_hpc.config import CaptionsConfig, ConceptsConfig, RunConfig, VllmConfig
from synthclip_hpc.launch.chain import bind, lay_out
from synthclip_hpc.launch.inline import do_inline
from synthclip_hpc.run import Run
from synthclip_hpc.stages import captions as captions_stage
from synthclip_hpc.work import Bench, bound_inputs
from tests.benchmarks.bank import write_bank
from tests.benchmarks.measure import Result, environment, run_process

ROUNDS = 6
BATCH_ITEMS = 16
MAX_TOKENS = 24
FLOOR = 0.95


def measure(folder: Path) -> list[Result]:
    """Compare both engines on SmolLM2 on the CPU, one thread, each in a process of its own."""
    results = []
    for engine, against in (("transformers", "batched generate"), ("vllm", "LLM.chat")):
        place = folder / engine
        place.mkdir()
        words = [sys.executable, "-m", "tests.benchmarks.caption_engines", engine, str(place)]
        output = run_process(words, place, environment()).output
        # vLLM's own warnings are on the standard output as well.
        found = json.loads(next(line for line in output.splitlines() if line.startswith('{"speed_ups"')))
        ratio = statistics.median(found["speed_ups"])
        spread = f"(of {len(found['speed_ups'])}: {min(found['speed_ups']):.2f} to {max(found['speed_ups']):.2f})"
        value = f"{ratio:.2f}x {spread}; {found['captions_per_s']:.1f} captions/s"
        results.append(Result(f"stage with {engine} over bare {against}", value, f">= {FLOOR}x", ratio >= FLOOR))
    return results


class _Witness:
    """The stage's engine, watched: what it was last asked and what it said."""

    def __init__(self, engine: Engine) -> None:
        self.engine: Any = engine
        self.asked: list[Request] = []
        self.said: list[str] = []

    def generate(self, batch: Sequence[Request]) -> list[str]:
        self.asked, self.said = list(batch), self.engine.generate(batch)
        return self.said

    def close(self) -> None:
        self.engine.close()


def _prepare(folder: Path, engine: str) -> tuple[RunConfig, Bench]:
    captions = CaptionsConfig(
        engine=engine,
        model="smollm2",
        device="cpu",
        max_tokens=MAX_TOKENS,
        max_tries=1,
        shard_items=BATCH_ITEMS,
        batch_items=BATCH_ITEMS,
        vllm=VllmConfig(eager=True),
    )
    bank = write_bank(folder / "bank.txt", (ROUNDS + 1) * BATCH_ITEMS)
    config = RunConfig(concepts=ConceptsConfig(bank=str(bank)), captions=captions)
    run = Run(folder / "run")
    run.create(config, {})
    concepts, link = lay_out(config, ["concepts", "captions"])
    bind(run, [concepts, link])
    do_inline(run, concepts, config)
    journal = Journal(link.directory(run).journal_path("bench_0_0"))
    inputs = bound_inputs(run, link.phase, config)
    return config, Bench(run, link.phase, link.plan, config, "bench_0_0", journal, inputs)


def compare(engine: str, folder: Path) -> dict[str, Any]:
    """Do one shard a round on both sides; a first round only warms up."""
    config, bench = _prepare(folder, engine)
    witnesses: list[_Witness] = []

    def open_watched(*given: Any) -> _Witness:
        witnesses.append(_Witness(open_engine(*given)))
        if engine == "transformers":
            _write_to_the_end(witnesses[0].engine)
        return witnesses[0]

    bare_side = {"transformers": _bare_transformers, "vllm": _bare_vllm}[engine]
    speed_ups, ours_s = [], []
    watched = patch.object(captions_stage, "open_engine", open_watched)
    with watched, bench.phase.open(config, bench.run, bench.plan) as process:
        [witness] = witnesses
        for shard in range(ROUNDS + 1):
            started = time.perf_counter()
            process(bench.task(shard))
            ours = time.perf_counter() - started
            started = time.perf_counter()
            texts = bare_side(witness.engine, witness.asked)
            bare = time.perf_counter() - started
            if engine == "vllm" and texts != witness.said:
                raise RuntimeError(f"the two sides of shard {shard} do not write the same")
            if shard:
                speed_ups.append(bare / ours)
                ours_s.append(ours)
    return {"speed_ups": speed_ups, "captions_per_s": BATCH_ITEMS / statistics.median(ours_s)}


def _write_to_the_end(engine: Any) -> None:
    """Make every answer as long as it may be: only then do both sides have the same work."""
    engine.chat = Chat(engine.chat.tokenizer, stop_ids=())
    engine.stop_ids = engine.stop_ids[:0]
    engine.network.generation_config.eos_token_id = None
    engine.chat.tokenizer.padding_side = "left"


def _bare_transformers(engine: Any, batch: Sequence[Request]) -> list[str]:
    tokenizer = engine.chat.tokenizer
    chats = [[{"role": "user", "content": request.prompt}] for request in batch]
    inputs = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    told = engine.network.generate(
        **inputs, do_sample=True, temperature=0.7, top_p=0.95, top_k=0, max_new_tokens=MAX_TOKENS
    )
    answers = told[:, inputs["input_ids"].shape[1] :]
    if answers.shape[1] != MAX_TOKENS:
        raise RuntimeError(f"{answers.shape[1]} tokens written, {MAX_TOKENS} wanted")
    texts: list[str] = tokenizer.batch_decode(answers, skip_special_tokens=True)
    return texts


def _bare_vllm(engine: Any, batch: Sequence[Request]) -> list[str]:
    from vllm import SamplingParams

    from synthclip_hpc.captioning.engines.vllm_engine import fold_seed

    told = engine.llm.chat(
        [[{"role": "user", "content": request.prompt}] for request in batch],
        [
            SamplingParams(
                temperature=0.7,
                top_p=0.95,
                presence_penalty=1.0,
                frequency_penalty=1.0,
                max_tokens=MAX_TOKENS,
                seed=fold_seed(request.seed),
            )
            for request in batch
        ],
        use_tqdm=False,
    )
    return [output.outputs[0].text for output in told]


if __name__ == "__main__":
    print(json.dumps(compare(sys.argv[1], Path(sys.argv[2]))), flush=True)
