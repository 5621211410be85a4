"""Parts of a bank for the ablations (paper, Table 4): the concepts that real captions name, or as many at random.

`concepts.subset=captions=FILE` is C_CC3M when the file holds CC3M's captions; `random=K` is C_rand. A concept's draw
depends on the seed and the concept alone, so that editing the bank does not change which of the others come first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sharding.ids import derive, item_id
from synthclip_hpc.errors import UserError, nearest

_FORMS = "captions=FILE (concepts that occur in its captions) or random=K (K drawn with the run's seed)"


@dataclass(frozen=True)
class CaptionSubset:
    """`captions=FILE`."""

    path: str
    """A caption table, a WebDataset or a folder of them, as `balance.source` takes."""


@dataclass(frozen=True)
class RandomSubset:
    """`random=K`."""

    size: int
    """Concepts to draw."""


def parse_subset(key: str, value: str) -> CaptionSubset | RandomSubset:
    """Return what a value of the configuration's `key` asks for: `captions=FILE` or `random=K`.

    Raises UserError for any other value.
    """
    told = f"{key}={value}"
    kind, equals, argument = value.partition("=")
    if kind not in ("captions", "random"):
        raise UserError(f"{told}: no such subset{nearest(kind, ('captions', 'random'))}. Valid: {_FORMS}")
    if not equals or not argument:
        missing = "the path of a caption file" if kind == "captions" else "how many concepts"
        raise UserError(f"{told}: {missing} is missing after {kind}=. Valid: {_FORMS}")
    if kind == "captions":
        return CaptionSubset(argument)
    if not (argument.isascii() and argument.isdecimal()) or int(argument) < 1:
        raise UserError(f"{told}: wanted how many concepts to draw, a whole number from 1, got {argument!r}")
    return RandomSubset(int(argument))


def subset_by_captions(concepts: Sequence[str], matched_places: Iterable[int]) -> tuple[str, ...]:
    """Return the concepts at the places that captions matched, each once, in the bank's order.

    Raises UserError when there is none, ValueError for a place that the bank does not have.
    """
    places = sorted({int(place) for place in matched_places})
    if not places:
        raise UserError(
            f"concepts.subset=captions=… names a file whose captions hold none of the {len(concepts):,} concepts; "
            "give captions in the bank's language, or another bank"
        )
    if places[0] < 0 or places[-1] >= len(concepts):
        raise ValueError(f"places must be 0 to {len(concepts) - 1}, got {places[0]} to {places[-1]}")
    return tuple(concepts[place] for place in places)


def subset_random(concepts: Sequence[str], k: int, seed: int) -> tuple[str, ...]:
    """Return k distinct concepts drawn with a seed, in the bank's order; k + 1 are these and one more.

    The draw is another one than that of `concepts.sample`. Raises UserError when k is not 1 to the bank's size.
    """
    if not 1 <= k <= len(concepts):
        raise UserError(
            f"concepts.subset=random={k}: the bank has {len(concepts)} concepts; ask for 1 to {len(concepts)}"
        )
    kept = set(sorted(concepts, key=lambda concept: derive(seed, item_id(concept), "concepts.subset"))[:k])
    return tuple(concept for concept in concepts if concept in kept)
