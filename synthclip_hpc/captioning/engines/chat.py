"""A model's tokenizer and chat template: from what a user asks to token ids, and from token ids to a text.

The template is applied once, by the tokenizer, and what it renders gets no special tokens on top: a template that
writes the BOS token itself (Mistral's does) yields one, where the paper's code sent two.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from synthclip_hpc.captioning.engines.room import Room
from synthclip_hpc.errors import UserError


class Chat:
    """A tokenizer with a chat template, and the tokens that end an answer."""

    def __init__(self, tokenizer: Any, stop_ids: Sequence[int]) -> None:
        self.tokenizer = tokenizer
        self.stop_ids = tuple(stop_ids)

    @property
    def pad_id(self) -> int:
        """A token id to fill short rows with; no model attends to it. Mistral's tokenizer names none."""
        known = (self.tokenizer.pad_token_id, *self.stop_ids, 0)
        return next(int(token) for token in known if token is not None)

    def encode(self, prompts: Sequence[str], room: Room) -> list[list[int]]:
        """Return each prompt as the user's message of a chat, with what makes the model answer, as token ids.

        Raises UserError for a prompt that takes more tokens than there is room for.
        """
        chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
        encoded: list[list[int]] = self.tokenizer.apply_chat_template(
            chats,
            tokenize=True,
            add_generation_prompt=True,
            padding=False,
            truncation=False,
            return_dict=False,
            # Some templates print today's date, which would make tomorrow's captions others.
            strftime_now=_fixed_date,
            # A caption needs no train of thought; templates without that switch do not look at it.
            enable_thinking=False,
        )
        for prompt, ids in zip(prompts, encoded, strict=True):
            room.check(prompt, len(ids))
        return encoded

    def decode(self, answers: Sequence[Sequence[int]]) -> list[str]:
        """Return the text of each answer up to its first stop token, without special tokens."""
        ended = [self._until_stop(answer) for answer in answers]
        texts: list[str] = self.tokenizer.batch_decode(
            ended, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return texts

    def _until_stop(self, answer: Sequence[int]) -> list[int]:
        ids = list(answer)
        return ids[: next((place for place, token in enumerate(ids) if token in self.stop_ids), None)]


def open_chat(folder: Path) -> Chat:
    """Load the tokenizer of a model folder. Raises UserError when it has no chat template."""
    from transformers import AutoTokenizer

    # mistral_format: the same files must give the same tokens whether or not mistral-common is installed.
    tokenizer = AutoTokenizer.from_pretrained(
        str(folder), local_files_only=True, trust_remote_code=False, mistral_format=False
    )
    if not tokenizer.chat_template:
        raise UserError(
            f"captions.model: {folder} has no chat template, so it is no model that answers; take its -Instruct or "
            "-Chat variant"
        )
    return Chat(tokenizer, _stop_ids(folder, tokenizer.eos_token_id))


def _stop_ids(folder: Path, tokenizers: int | None) -> list[int]:
    """Return all tokens that end an answer: a model's files may each name another one (end of turn, end of text)."""
    found = set() if tokenizers is None else {tokenizers}
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        if path.exists():
            named = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id")
            found.update(named if isinstance(named, list) else [] if named is None else [named])
    return sorted(found)


def _fixed_date(form: str) -> str:
    return date(2024, 1, 1).strftime(form)
