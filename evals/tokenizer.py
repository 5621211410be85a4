"""The tokenizer of a model, and what tells it from others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from evals.errors import EvalError
from evals.model_source import ModelSource

if TYPE_CHECKING:
    import torch

Tokenize = Callable[[Sequence[str]], "torch.Tensor"]


def open_tokenizer(source: ModelSource, model: str) -> Tokenize:
    """Return what makes n texts int64 [n, context length]. Raises EvalError when its files are not on this machine."""
    import open_clip
    from open_clip.tokenizer import HFTokenizer

    text = source.config["text_cfg"]
    length = text.get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH)
    try:
        if source.tokenizer is not None:
            found: Tokenize = open_clip.get_tokenizer(source.tokenizer)
        elif name := text.get("hf_tokenizer_name"):
            found = HFTokenizer(name, context_length=length, **text.get("tokenizer_kwargs", {}))
        else:
            found = open_clip.SimpleTokenizer(context_length=length, **text.get("tokenizer_kwargs", {}))
    except (OSError, ValueError) as error:
        raise EvalError(
            f"model={model}: its tokenizer is not on this machine ({error}); fetch it once with internet"
        ) from error
    return found


def tokenizer_identity(tokenize: Any) -> str:
    """Return `KIND HASH` of an opened tokenizer that has not been used: equal ones give equal tokens.

    The hash is of vocabulary, merges, rules and settings, and not of the place that they were read from.
    """
    inner = getattr(tokenize, "tokenizer", None)
    settings = {
        name: _plain(getattr(tokenize, name, None))
        for name in ("context_length", "clean_fn", "reduction_fn", "strip_sep_token", "tokenizer_mode")
    }
    content = _own_content(tokenize) if inner is None else _content_of_transformers(inner)
    text = json.dumps([settings, content], sort_keys=True)
    return f"{type(tokenize).__name__} {hashlib.sha256(text.encode()).hexdigest()}"


def _own_content(tokenize: Any) -> dict[str, Any]:
    """Return the vocabulary and the merges, by rank, of open_clip's own tokenizer."""
    return {"vocabulary": tokenize.encoder, "merges": list(tokenize.bpe_ranks), "special": tokenize.all_special_ids}


def _content_of_transformers(inner: Any) -> dict[str, Any]:
    backend = getattr(inner, "backend_tokenizer", None)  # those in pure Python have none
    return {
        "kind": type(inner).__name__,
        "rules": inner.get_vocab() if backend is None else backend.to_str(),
        "special": {name: str(token) for name, token in inner.special_tokens_map.items()},
        "sides": [inner.padding_side, inner.truncation_side],
    }


def _plain(value: Any) -> Any:
    return value.__name__ if callable(value) else value
