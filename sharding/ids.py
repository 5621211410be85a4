"""Names and seeds: 64-bit numbers that follow from what an item is, never from where it stands."""

from __future__ import annotations

import operator
from hashlib import blake2b

_ITEM = blake2b(digest_size=8, person=b"item")
_DERIVE = blake2b(digest_size=8, person=b"derive")


def item_id(*parts: str | int) -> int:
    """The unsigned 64-bit identity of an item, from the parts that name it.

    Parts are written with type and length, so `("ab", "c")` and `("a", "bc")` differ, and so do `"1"` and `1`. With 30
    million items the chance of any collision is about 2.4e-5: the caller, who sees them all, checks for it.

    Raises TypeError for parts that are neither text nor whole numbers (`bool` included: it is nearly always a mistake
    here).
    """
    return _hash64("".join([_encode(part) for part in parts]), _ITEM)


def derive(run_seed: int, item: int, purpose: str) -> int:
    """The unsigned 64-bit seed of one random choice: same run seed, item and purpose, same number, whoever asks.

    Two choices about one item need two purposes; otherwise they would be correlated.
    """
    return _hash64(f"{_encode(run_seed)}{_encode(item)}{_encode(purpose)}", _DERIVE)


def _hash64(text: str, domain: blake2b) -> int:
    # A copy costs half of what a new hash with its parameters does.
    state = domain.copy()
    # Lone surrogates come from file names that are no UTF-8; they still need a stable identity.
    state.update(text.encode("utf-8", "surrogatepass"))
    return int.from_bytes(state.digest(), "big")


def _encode(part: str | int) -> str:
    # Millions of calls an hour, nearly all of them with exactly these two types: tested first.
    if type(part) is int:
        return f"i{part};"
    if isinstance(part, str):
        return f"s{len(part)}:{part}"
    if isinstance(part, bool):
        raise TypeError(f"an identity is made of text and whole numbers, got {part!r}; spell out what the flag means")
    try:
        return f"i{operator.index(part)};"
    except TypeError:
        raise TypeError(
            f"an identity is made of text and whole numbers, got {part!r} ({type(part).__name__})"
        ) from None
