"""What our engines cost over the bare libraries they use: the same model, prompts, batch, tokens and process.

`transformers`: bare `generate(do_sample=True, temperature, top_p)`, without penalties and with one generator for all
rows. The texts differ, so no answer may end before its last token, on both sides (no end-of-text token; top_k, which
the library would add by itself, is off). `vllm`: bare `LLM.chat` with one SamplingParams a prompt, seeds and penalties
included; both sides write the same tokens, and that is checked.

The two sides take turns, and the ratio is the median over rounds, because the machine has other work to do. Run as a
module, `transformers|vllm FOLDER`, it prints one comparison as JSON.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sharding.ids import derive
from synthclip_hpc.captioning.engines.chat import Chat
from synthclip_hpc.captioning.engines.engine import Request
from synthclip_hpc.captioning.models.find import ModelFiles, find_model, local_path
from synthclip_hpc.captioning.prompts import fill, find_prompts
from synthclip_hpc.config import CaptionsConfig, VllmConfig
from tests.benchmarks.measure import Result, environment, run_process

ROUNDS = 5
BATCH_ITEMS = 16
MAX_TOKENS = 24
CONCEPTS = ["red fox", "lighthouse", "bowl of ramen", "golden retriever", "steam locomotive", "violin", "snowboarder"]
Answering = Callable[[], object]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Seconds of each round, the two sides of a round one after the other; `tokens` were written by each side."""

    engine: str
    tokens: int
    bare_s: tuple[float, ...]
    ours_s: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Our time over the bare library's, the median of the rounds: below 1 is faster."""
        return statistics.median(ours / bare for ours, bare in zip(self.ours_s, self.bare_s, strict=True))

    def told(self) -> str:
        """Return the ratio with its range, and our speed."""
        ratios = [ours / bare for ours, bare in zip(self.ours_s, self.bare_s, strict=True)]
        speed = self.tokens / statistics.median(self.ours_s)
        return f"{self.ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f}); {speed:.0f} tokens/s"


def measure(folder: Path) -> list[Result]:
    """Compare both engines on SmolLM2 on the CPU, one thread, each in a process of its own."""
    model = local_path(find_model("smollm2"))
    results = []
    for engine in ("transformers", "vllm"):
        words = [sys.executable, "-m", "tests.benchmarks.caption_engines", engine, str(model)]
        output = run_process(words, folder, environment()).output
        # vLLM's own warnings are on the standard output as well.
        line = next(line for line in output.splitlines() if line.startswith('{"engine"'))
        found = Comparison(**json.loads(line))
        results.append(Result(f"time of {engine} over the bare library", found.told(), "<= 1.1", found.ratio <= 1.1))
    return results


def prompts(count: int) -> list[Request]:
    """Return the paper's prompt for so many captions."""
    template = find_prompts("paper").draw(0)
    concepts = [CONCEPTS[item % len(CONCEPTS)] for item in range(count)]
    return [Request(one, fill(template, one), derive(0, item, "benchmark")) for item, one in enumerate(concepts)]


def compare_transformers(model: ModelFiles, batch: Sequence[Request], max_tokens: int, rounds: int) -> Comparison:
    """Time our engine against bare `generate` on the same loaded model, tokens encoded and decoded on both sides."""
    from synthclip_hpc.captioning.engines.transformers_engine import TransformersEngine, open_transformers

    config = CaptionsConfig(engine="transformers", device="cpu", max_tokens=max_tokens)
    opened = open_transformers(config, model)
    assert isinstance(opened, TransformersEngine)
    endless = Chat(opened.chat.tokenizer, stop_ids=())
    engine = TransformersEngine(opened.network, endless, config, room=opened.room)
    tokenizer = endless.tokenizer
    tokenizer.padding_side = "left"

    def bare() -> object:
        chats = [[{"role": "user", "content": request.prompt}] for request in batch]
        inputs = tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        told = engine.network.generate(
            **inputs, do_sample=True, temperature=0.7, top_p=0.95, top_k=0, max_new_tokens=max_tokens
        )
        assert told.shape[1] == inputs["input_ids"].shape[1] + max_tokens
        return tokenizer.batch_decode(told[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)

    bare_s, ours_s = _take_turns(bare, lambda: engine.generate(batch), rounds)
    return Comparison("transformers", len(batch) * max_tokens, bare_s, ours_s)


def compare_vllm(model: ModelFiles, batch: Sequence[Request], max_tokens: int, rounds: int) -> Comparison:
    """Time our engine against bare `LLM.chat` on the same engine object."""
    from synthclip_hpc.captioning.engines.vllm_engine import VllmEngine, open_vllm

    config = CaptionsConfig(
        engine="vllm", device="cpu", max_tokens=max_tokens, batch_items=len(batch), vllm=VllmConfig(eager=True)
    )
    engine = open_vllm(config, model)
    assert isinstance(engine, VllmEngine)
    from vllm import SamplingParams

    written: list[list[int]] = []

    def bare() -> object:
        told = engine.llm.chat(
            [[{"role": "user", "content": request.prompt}] for request in batch],
            [
                SamplingParams(
                    temperature=0.7,
                    top_p=0.95,
                    presence_penalty=1.0,
                    frequency_penalty=1.0,
                    max_tokens=max_tokens,
                    seed=request.seed % 2**63,
                )
                for request in batch
            ],
            use_tqdm=False,
        )
        written[:] = [list(output.outputs[0].token_ids) for output in told]
        return [output.outputs[0].text for output in told]

    assert bare() == engine.generate(batch), "the two sides do not write the same"
    bare_s, ours_s = _take_turns(bare, lambda: engine.generate(batch), rounds)
    engine.close()
    return Comparison("vllm", sum(map(len, written)), bare_s, ours_s)


def _take_turns(bare: Answering, ours: Answering, rounds: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Time both sides once a round; who is first changes with the round. A first round only warms up."""
    seconds: dict[Answering, list[float]] = {bare: [], ours: []}
    for number in range(rounds + 1):
        for side in (bare, ours) if number % 2 else (ours, bare):
            started = time.perf_counter()
            side()
            seconds[side].append(time.perf_counter() - started)
    return tuple(seconds[bare][1:]), tuple(seconds[ours][1:])


def _main() -> None:
    engine, folder = sys.argv[1:]
    model = ModelFiles("SmolLM2", Path(folder), "", 8192, None)
    compare = {"transformers": compare_transformers, "vllm": compare_vllm}[engine]
    found = compare(model, prompts(BATCH_ITEMS), MAX_TOKENS, ROUNDS)
    print(json.dumps(dataclasses.asdict(found)), flush=True)


if __name__ == "__main__":
    _main()
