"""`python -m synthclip_hpc.preview concept="red fox" n=5`: what the engine makes of a few concepts, without a run.

Shows the prompt, each raw answer, and of each the caption that the clean-up leaves, or the verdict of the checks. The
captions are those that a run with the same configuration would write if these concepts were all of its bank and `n`
its `captions.per_concept`: the same items in the same batches. A concept that is named here is never excluded.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Optional

from synthclip_hpc.commands import ConfigOptions, config_of, parse_config_options
from synthclip_hpc.errors import UserError, run_command

if TYPE_CHECKING:
    from synthclip_hpc.captioning.answers.answering import Answer, Item, Rules
    from synthclip_hpc.captioning.engines.engine import Engine, Request
    from synthclip_hpc.captioning.prompts import Prompts
    from synthclip_hpc.config import CaptionsConfig
    from synthclip_hpc.stages.phase import Sources

PROG = "python -m synthclip_hpc.preview"
NUM_DRAWN = 3


# Optional[X]: see config.py.
@dataclass(frozen=True)
class PreviewOptions(ConfigOptions):
    """Options of `preview`."""

    concept: str = ""
    """Concepts to write captions for: one of the bank as it stands there, or several, comma-separated (default: three
    of the bank, drawn with the seed)."""
    n: int = 3
    """Captions for each concept."""
    preset: Optional[str] = None  # noqa: UP045
    """Named configuration to start from."""


@dataclass
class _Recorder:
    """An engine that keeps the answers it gave, by what it was asked: no two requests have the same seed."""

    engine: Engine
    given: dict[int, str] = field(default_factory=dict)

    def generate(self, batch: Sequence[Request]) -> list[str]:
        texts = self.engine.generate(batch)
        self.given |= {request.seed: text for request, text in zip(batch, texts, strict=False)}
        return texts

    def close(self) -> None:
        self.engine.close()


def preview(argv: list[str]) -> int:
    """Print prompts, answers and verdicts; return the exit code."""
    _, options = parse_config_options(PreviewOptions, argv, PROG, "Write a few captions and show how they come about.")
    if options.n < 1:
        raise UserError(f"n={options.n}: wanted a whole number from 1")
    from sharding.ids import derive, item_id
    from synthclip_hpc.captioning.answers.answering import Item, answer_batch
    from synthclip_hpc.captioning.banks.normalising import shown
    from synthclip_hpc.captioning.models.find import local_path
    from synthclip_hpc.captioning.preflight import check_place
    from synthclip_hpc.captioning.registry import check_engine, check_prompts, model_column, open_engine, rules_of
    from synthclip_hpc.place import local_place
    from synthclip_hpc.stages.phase import Sources

    config = config_of(options)
    captions, sources = config.captions, Sources(config)
    check_engine(captions)
    check_prompts(captions, sources.prompts)
    check_place(captions, local_place(), sources.model, sources.prompts)
    concepts = _given_concepts(options.concept, sources) if options.concept else _drawn_concepts(sources)
    items = [
        Item(concept, derive(config.seed, item_id(concept, n), "caption"))
        for n in range(options.n)
        for concept in concepts
    ]
    model = sources.model and dataclasses.replace(sources.model, path=local_path(sources.model))
    rules = rules_of(captions)
    engine = _Recorder(open_engine(captions, model))
    try:
        answers = [
            answer
            for batch in _batches(items, captions)
            for answer in answer_batch(engine, sources.prompts, rules, batch)
        ]
    finally:
        engine.close()
    print(f"engine: {captions.engine}   model: {model_column(captions, model)}")
    print(f"prompt: {answers[0].prompt}")
    for place, (item, answer) in enumerate(zip(items, answers, strict=True)):
        print(f"\n{shown(item.concept)} #{place // len(concepts) + 1}")
        if answer.prompt != answers[0].prompt:
            print(f"  prompt   {answer.prompt}")
        _print_tries(engine, sources.prompts, rules, item, answer)
    kept = sum(1 for answer in answers if answer.caption)
    print(f"\n{kept} of {len(answers)} captions passed")
    return 0


def _given_concepts(given: str, sources: Sources) -> list[str]:
    """Return the concepts that the option names, as a bank with them would have them."""
    from synthclip_hpc.captioning.banks.bank import read_bank
    from synthclip_hpc.captioning.banks.normalising import distinct, tell_rejects

    concepts, rejects, _ = distinct([given])
    if "," in given and not (concepts and concepts[0] in read_bank(sources.config.concepts.bank).concepts):
        concepts, rejects, _ = distinct(given.split(","))
    unusable = {reason: count for reason, count in rejects.items() if reason not in ("duplicate", "empty")}
    if unusable or not concepts:
        raise UserError(
            f"concept={given!a}: {tell_rejects(unusable) or 'nothing in it'}, as a bank counts it; give a concept, or "
            "several with commas between them"
        )
    return concepts


def _drawn_concepts(sources: Sources) -> list[str]:
    """Return three concepts of the run's bank that are not excluded, or as many as there are."""
    from synthclip_hpc.captioning.banks.bank import draw

    bank = sources.bank
    wanted = [concept for concept, reason in zip(bank.concepts, bank.reject_reasons, strict=True) if reason is None]
    return draw(wanted, NUM_DRAWN, sources.config.seed)


def _batches(items: list[Item], captions: CaptionsConfig) -> list[list[Item]]:
    """Cut items into shards and these into batches, as a run does."""
    shards = [items[start : start + captions.shard_items] for start in range(0, len(items), captions.shard_items)]
    return [
        shard[start : start + captions.batch_items]
        for shard in shards
        for start in range(0, len(shard), captions.batch_items)
    ]


def _print_tries(engine: _Recorder, prompts: Prompts, rules: Rules | None, item: Item, answer: Answer) -> None:
    """Print each answer that an item got, with what became of it."""
    from synthclip_hpc.captioning.answers.answering import answer_seed, judge
    from synthclip_hpc.captioning.banks.normalising import shown

    for number in range(1, answer.num_tries + 1):
        raw = engine.given[answer_seed(item, number)]
        print(f"  answer {number} {raw!r}")
        caption, reason = (raw, None) if rules is None else judge(prompts, rules, item, number, raw)
        print(f"  rejected {reason}: {caption!r}" if reason else f"  caption  {shown(caption)}")


def main() -> int:
    """Entry point."""
    return run_command(preview)


if __name__ == "__main__":
    sys.exit(main())
