"""Concept banks: an ordered list of distinct, normalised concepts, and what became of every entry that is not one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sharding.canonical import fingerprint
from sharding.ids import derive, item_id
from synthclip_hpc.captioning.banks.exclusion import Exclusion, read_exclusion
from synthclip_hpc.captioning.banks.listing import read_listing
from synthclip_hpc.captioning.banks.normalising import distinct, tell_rejects
from synthclip_hpc.captioning.banks.subsets import RandomSubset, parse_subset, subset_by_captions, subset_random
from synthclip_hpc.errors import UserError

EXCLUDED = "excluded"
"""Reason of a concept that keeps its place and gets no captions."""
_RECORDED = 1000


@dataclass(frozen=True)
class Bank:
    """Concepts in order, and what became of the entries that are not among them."""

    name: str
    concepts: tuple[str, ...]
    """Excluded ones too: they keep their place."""
    entries_read: int
    rejects: dict[str, int]
    """Reason -> entries: `duplicate`, `empty`, `too_long`, `control_character`, `broken_unicode`, `not_selected`."""
    label: str
    source: str
    """Where the entries came from: `built in: wordnet`, `MetaCLIP metadata.json (git blob 2691...)`, `my.txt (...)`."""
    exclusion: Exclusion | None = None

    @property
    def excluded(self) -> frozenset[int]:
        """Places in `concepts` of the excluded ones."""
        return self.exclusion.places if self.exclusion else frozenset()

    @cached_property
    def reject_reasons(self) -> list[str | None]:
        """One for each concept: EXCLUDED, or None for a concept that captions are written for."""
        return [EXCLUDED if place in self.excluded else None for place in range(len(self.concepts))]

    @cached_property
    def sha256(self) -> str:
        """The bank's identity, whatever files it came from."""
        return bank_hash(self.concepts, [self.concepts[place] for place in sorted(self.excluded)])

    def summary(self) -> str:
        """Return one line, such as `86,654 concepts from wordnet (2 duplicates, 1 too long left out)`."""
        notes = [f"{tell_rejects(self.rejects)} left out"] if self.rejects else []
        if self.exclusion:
            notes.append(self.exclusion.told())
        noun = "concept" if len(self.concepts) == 1 else "concepts"
        return f"{len(self.concepts):,} {noun} from {self.label}" + (f" ({'; '.join(notes)})" if notes else "")

    def provenance(self) -> dict[str, Any]:
        """Return what a marker keeps of the sources; JSON-able. Lists no more than 1,000 entries that found nothing."""
        facts: dict[str, Any] = {"source": self.source, "summary": self.summary()}
        if self.exclusion:
            facts["exclude"] = {
                "source": self.exclusion.source,
                "entries_read": self.exclusion.entries_read,
                "rejects": self.exclusion.rejects,
                "excluded": len(self.excluded),
                "not_in_bank": len(self.exclusion.unmatched),
                "not_in_bank_first": list(self.exclusion.unmatched[:_RECORDED]),
            }
        return facts


def bank_hash(concepts: Sequence[str], excluded: Sequence[str]) -> str:
    """Return the hash of concepts in order and of the excluded among them, in the same order: 64 hexadecimal digits."""
    return fingerprint({"concepts": concepts, "excluded": excluded} if excluded else concepts)


def read_bank(
    name: str,
    *,
    subset: str | None = None,
    limit: int = 0,
    sample: int = 0,
    seed: int = 0,
    exclude: str | None = None,
) -> Bank:
    """Read and normalise a bank, keep `limit` first or `sample` drawn concepts (0 = all), mark those to `exclude`.

    A sample keeps the bank's order, and a concept's draw depends on the seed and the concept alone, so that editing
    the bank does not change which of the others are drawn first. Excluding comes last and moves nothing: an excluded
    concept counts towards `limit` and `sample`.
    Raises UserError when a list is missing, empty, unreadable or wrongly encoded, when more concepts are asked for than
    there are, and when none would be left.
    """
    for key, value in (("concepts.limit", limit), ("concepts.sample", sample)):
        if value < 0:
            raise UserError(f"{key}={value}: wanted 0 (all) or a positive number")
    if limit and sample:
        raise UserError(f"concepts.limit={limit} and concepts.sample={sample}: give one of the two")
    listing = read_listing("concepts.bank", name)
    concepts, rejects, entries_read = distinct(listing.entries)
    if not concepts:
        raise UserError(
            f"concepts.bank={name}: no usable concept among {entries_read} entries "
            f"({tell_rejects(rejects) or 'nothing in it'}); give a bank with at least one"
        )
    whole = concepts
    if subset is not None:
        concepts = list(_subset_of(concepts, subset, seed))
    wanted = limit or sample or len(concepts)
    if wanted > len(concepts):
        key = "concepts.limit" if limit else "concepts.sample"
        raise UserError(f"{key}={wanted}: the bank {name} has {len(concepts)} concepts; ask for that many or fewer")
    if sample:
        selected = draw(concepts, sample, seed)
    else:
        selected = concepts[:wanted]
    if len(selected) < len(whole):
        rejects["not_selected"] = len(whole) - len(selected)
    exclusion = None if exclude is None else read_exclusion(exclude, whole, selected)
    return Bank(name, tuple(selected), entries_read, dict(rejects), listing.label, listing.source, exclusion)


def _subset_of(concepts: Sequence[str], subset: str, seed: int) -> tuple[str, ...]:
    """Return the part of a bank that `concepts.subset` names."""
    wanted = parse_subset("concepts.subset", subset)
    if isinstance(wanted, RandomSubset):
        return subset_random(concepts, wanted.size, seed)
    from synthclip_hpc.curation.named_concepts import named_concepts
    from synthclip_hpc.curation.sources import find_source

    source = find_source(wanted.path, "concepts.subset=captions")
    return subset_by_captions(concepts, named_concepts(concepts, source))


def draw(concepts: Sequence[str], count: int, seed: int) -> list[str]:
    """Return `count` concepts drawn by the seed (all, if there are fewer), in the order in which they were given."""
    kept = set(sorted(concepts, key=lambda concept: derive(seed, item_id(concept), "concepts.sample"))[:count])
    return [concept for concept in concepts if concept in kept]
