"""A caption engine of a user's own, named by `captions.engine=module:function`: its answers are written beforehand."""

from __future__ import annotations

from collections.abc import Sequence

from synthclip_hpc.captioning.engines.engine import Request

script: dict[str, list[str]] = {}
"""Concept -> the answers of its tries, in order; a concept that is not here gets a good caption."""
asked: list[Request] = []
opened: list[str] = []
dies_after: list[int] = []
"""Calls after which the engine raises, once."""


class ScriptedEngine:
    """Answers from the script; counts tries by concept and seed."""

    def __init__(self) -> None:
        self.tries: dict[str, int] = {}

    def generate(self, batch: Sequence[Request]) -> list[str]:
        if dies_after and len(asked) >= dies_after[0]:
            dies_after.clear()
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        asked.extend(batch)
        return [self._answer(request) for request in batch]

    def _answer(self, request: Request) -> str:
        answers = script.get(request.concept)
        if answers is None:
            return f"A {request.concept} number {request.seed % 97} in the morning light."
        self.tries[request.concept] = self.tries.get(request.concept, -1) + 1
        return answers[min(self.tries[request.concept], len(answers) - 1)]

    def close(self) -> None:
        opened.append("closed")


def open_scripted(config: object, model: object) -> ScriptedEngine:
    """What `captions.engine` names."""
    opened.append("opened")
    return ScriptedEngine()


def reset() -> None:
    for kept in (script, asked, opened, dies_after):
        kept.clear()
