"""Tokens are exactly open_clip's."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthclip_hpc.training.data import tokens
from synthclip_hpc.training.data.tokens import Tokenizing

pytestmark = pytest.mark.engines

CAPTIONS = [
    "A photo of a cat.",
    "",
    "   spaces\tand\r\nlines \x0b\x0c\x1c of all \x85 kinds \u2003\u3000 ",
    "fish &amp; chips &amp;lt;b&amp;gt; &eacute;clair &#39;quoted&#39; &unknown; R&D",
    "caf\u00e9 \u201ccurly\u201d \u2018quotes\u2019 na\u00efve \u00c9COLE \u0130stanbul",
    "mojibake: caf\u00c3\u00a9, \u00e2\u20ac\u0153text\u00e2\u20ac\u009d",
    "\U0001f63a\U0001f3fd emoji \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\u6f22\u5b57 \u0440\u0443\u0441\u0441\u043a\u0438\u0439",
    "<start_of_text> in the text <end_of_text>",
    "we're they'll it's I'd don't O'Reilly's 'tis 1234 3rd $5.99!!! ~tilde~ {a|b} `x` \\ ^",
    "control \x07 \x1b[31mred\x1b[0m \x7f \ufeff \x00 end",
    "very " * 100 + "long",
    "x" * 300,
    "\ufb01ne \uff21\uff22 full width, soft\u00adhyphen, \u2026",
]


@functools.cache
def both(context_length):
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer(context_length=context_length), Tokenizing(SimpleTokenizer(context_length=context_length))


@pytest.mark.parametrize("context_length", [77, 16, 3])
def test_odd_captions_have_open_clips_tokens(context_length):
    theirs, ours = both(context_length)
    found = ours(CAPTIONS)
    assert found.dtype == np.int64
    for caption, row in zip(CAPTIONS, found, strict=True):
        assert row.tolist() == theirs([caption])[0].tolist(), caption
    assert np.array_equal(ours(CAPTIONS), found)  # from what it has kept


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | st.text(alphabet=[chr(code) for code in range(128)], max_size=60))
def test_any_text_has_open_clips_tokens(text):
    theirs, ours = both(77)
    assert ours([text])[0].tolist() == theirs([text])[0].tolist()


@pytest.mark.parametrize("clean", ["canonicalize", "whitespace"])
def test_other_ways_of_cleaning_are_kept_to(clean):
    from open_clip.tokenizer import SimpleTokenizer

    theirs = SimpleTokenizer(context_length=20, clean=clean)
    captions = [one for one in CAPTIONS if one.strip()]
    assert np.array_equal(
        Tokenizing(SimpleTokenizer(context_length=20, clean=clean))(captions), theirs(captions).numpy()
    )


def test_any_other_tokenizer_is_asked_itself():
    found = Tokenizing(_Lengths())(["a cat", "two dogs"])
    assert found.tolist() == [[5, 1, 2, 3], [8, 1, 2, 3]]


class _Lengths:
    context_length = 4

    def __call__(self, texts):
        import torch

        return torch.tensor([[len(text), 1, 2, 3] for text in texts])


def test_only_so_many_words_are_kept(monkeypatch):
    from open_clip.tokenizer import SimpleTokenizer

    monkeypatch.setattr(tokens, "_WORDS", 5)
    tokenizer = SimpleTokenizer(context_length=8)
    ours, theirs = Tokenizing(tokenizer), both(8)[0]
    captions = [f"word{'abcdefgh'[n % 8]} thing{'xyz'[n % 3]}" for n in range(40)]
    assert np.array_equal(ours(captions), theirs(captions).numpy())
    assert len(ours._words) <= 5
    assert len(tokenizer.cache) <= 5 + 2
