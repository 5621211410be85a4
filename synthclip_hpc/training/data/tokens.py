"""Captions to tokens, exactly as open_clip's tokenizers make them, and several times as fast."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int64]

_WORDS = 200_000
# Printable ASCII without `&`: what ftfy and HTML unescaping leave alone, and they take most of a tokenizer's time.
_PLAIN = re.compile(r"[\t\n\r -%'-~]*")


class Tokenizing:
    """Captions to int64 [n, context length], zeros behind the end. Keeps the tokens of 200,000 words at most."""

    def __init__(self, tokenizer: Any) -> None:
        """`tokenizer`: what `open_clip.get_tokenizer` returns; only a plain SimpleTokenizer is made any faster."""
        from open_clip.tokenizer import SimpleTokenizer, get_clean_fn

        self.context_length = int(tokenizer.context_length)
        self._tokenizer = tokenizer
        self._own_words = type(tokenizer) is SimpleTokenizer and tokenizer.reduction_fn is None
        if self._own_words:
            self._lowers = tokenizer.clean_fn is get_clean_fn("lower")
            self._first_cache = dict(tokenizer.cache)
            self._words: dict[str, list[int]] = {}

    def __call__(self, captions: Sequence[str]) -> Tokens:
        """Return the tokens of some captions; a longer one is cut, its last token being the end of text."""
        if not self._own_words:
            made: Tokens = self._tokenizer(list(captions)).numpy()
            return made
        found = np.zeros((len(captions), self.context_length), np.int64)
        start, end = self._tokenizer.sot_token_id, self._tokenizer.eot_token_id
        for row, caption in zip(found, captions, strict=True):
            tokens = [start]
            for word in self._tokenizer.pat.findall(self._clean(caption)):
                tokens += self._words.get(word) or self._word(word)
            del tokens[self.context_length - 1 :]
            tokens.append(end)
            row[: len(tokens)] = tokens
        return found

    def _clean(self, caption: str) -> str:
        if self._lowers and _PLAIN.fullmatch(caption):
            return " ".join(caption.split()).lower()
        cleaned: str = self._tokenizer.clean_fn(caption)
        return cleaned

    def _word(self, word: str) -> list[int]:
        if len(self._words) >= _WORDS:
            self._words.clear()
            # The tokenizer keeps every word as well, for ever.
            self._tokenizer.cache = dict(self._first_cache)
        letters = "".join(self._tokenizer.byte_encoder[byte] for byte in word.encode("utf-8"))
        tokens = [self._tokenizer.encoder[part] for part in self._tokenizer.bpe(letters).split(" ")]
        self._words[word] = tokens
        return tokens
