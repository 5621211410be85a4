"""Names and seeds: 64-bit numbers that follow from what an item is, never from where it stands."""

from __future__ import annotations

import operator
from hashlib import blake2b


def item_id(*parts: str | int) -> int:
    """The unsigned 64-bit identity of an item, from the parts that name it.

    Parts are written with type and length, so `("ab", "c")` and `("a", "bc")` differ, and so do `"1"` and `1`. With 30
    million items the chance of any collision is about 2.4e-5: the caller, who sees them all, checks for it.

    Raises TypeError for parts that are neither text nor whole numbers (`bool` included: it is nearly always a mistake
    here).
    """
    return _hash64("".join([_encode(part) for part in parts]), b"item")


def derive(run_seed: int, item: int, purpose: str) -> int:
    """The unsigned 64-bit seed of one random choice: same run seed, item and purpose, same number, whoever asks.

    Two choices about one item need two purposes; otherwise they would be correlated.
    """
    return _hash64(f"{_encode(run_seed)}{_encode(item)}{_encode(purpose)}", b"derive")


def _hash64(text: str, domain: bytes) -> int:
    # Lone surrogates come from file names that are no UTF-8; they still need a stable identity.
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, person=domain).digest()
    return int.from_bytes(digest, "big")


def _encode(part: str | int) -> str:
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
