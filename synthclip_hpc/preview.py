"""`python -m synthclip_hpc.preview concept="red fox" n=5`: what the engine makes of a few concepts, without a run.

Shows the prompt, each raw answer, the caption that the clean-up leaves and the verdict of the checks. The captions are
those that a run with the same configuration would write if these concepts were its bank and one batch.
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
    from synthclip_hpc.captioning.engines.engine import Engine, Request

PROG = "python -m synthclip_hpc.preview"


# Optional[X]: see config.py.
@dataclass(frozen=True)
class PreviewOptions(ConfigOptions):
    """Options of `preview`."""

    concept: str = ""
    """Concepts to write captions for, comma-separated (default: the first three of the bank)."""
    n: int = 3
    """Captions for each concept."""
    preset: Optional[str] = None  # noqa: UP045
    """Named configuration to start from."""


@dataclass
class _Recorder:
    """An engine that keeps what passes through it."""

    engine: Engine
    calls: list[list[tuple[Request, str]]] = field(default_factory=list)

    def generate(self, batch: Sequence[Request]) -> list[str]:
        texts = self.engine.generate(batch)
        self.calls.append(list(zip(batch, texts, strict=False)))
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
    from synthclip_hpc.captioning.models.find import local_path
    from synthclip_hpc.captioning.preflight import check_place
    from synthclip_hpc.captioning.registry import check_engine, model_column, open_engine, rules_of
    from synthclip_hpc.place import local_place
    from synthclip_hpc.stages.phase import Sources

    config = config_of(options)
    check_engine(config.captions)
    sources = Sources(config)
    check_place(config.captions, local_place(), sources.model, sources.prompts)
    concepts = [one.strip() for one in options.concept.split(",") if one.strip()] or list(sources.bank.concepts[:3])
    items = [
        Item(concept, derive(config.seed, item_id(concept, n), "caption"))
        for n in range(options.n)
        for concept in concepts
    ]
    model = sources.model and dataclasses.replace(sources.model, path=local_path(sources.model))
    engine = _Recorder(open_engine(config.captions, model))
    try:
        answers = answer_batch(engine, sources.prompts, rules_of(config.captions), items)
    finally:
        engine.close()
    print(f"engine: {config.captions.engine}   model: {model_column(config.captions, model)}")
    print(f"prompt: {answers[0].prompt}")
    for place, (item, answer) in enumerate(zip(items, answers, strict=True)):
        print(f"\n{item.concept} #{place // len(concepts) + 1}")
        if answer.prompt != answers[0].prompt:
            print(f"  prompt   {answer.prompt}")
        for number, raw in enumerate(_raw_answers(engine, place, [one.num_tries for one in answers]), start=1):
            print(f"  answer {number} {raw!r}")
        print(f"  caption  {answer.caption}" if answer.caption else f"  rejected {answer.reject_reason}")
    kept = sum(1 for answer in answers if answer.caption)
    print(f"\n{kept} of {len(answers)} captions passed")
    return 0


def _raw_answers(engine: _Recorder, place: int, num_tries: list[int]) -> list[str]:
    """Return the answers that an item got, one for each of its tries: call k has the items with k tries or more."""
    found = []
    for number, call in enumerate(engine.calls[: num_tries[place]], start=1):
        among = [other for other, tries in enumerate(num_tries) if tries >= number]
        found.append(call[among.index(place)][1])
    return found


def main() -> int:
    """Entry point."""
    return run_command(preview)


if __name__ == "__main__":
    sys.exit(main())
