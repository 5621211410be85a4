"""Concepts to leave out (`concepts.exclude`): they keep their place in the bank, so that no other item moves.

Compared are whole concepts, normalised as a bank's are, whatever their case (Unicode case folding) and whatever they
hold that does not show: `Gun` excludes `gun`, `GUN` and `gun` with a zero-width space, not `guns` nor `water gun`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from synthclip_hpc.captioning.banks.listing import read_listing
from synthclip_hpc.captioning.banks.normalising import comparable, distinct, shown, tell_rejects
from synthclip_hpc.errors import UserError

_NAMED = 3


@dataclass(frozen=True)
class Exclusion:
    """A list of concepts to leave out, and what it met in the bank."""

    label: str
    source: str
    entries_read: int
    rejects: dict[str, int]
    """Entries of the list that name no concept, by reason, as a bank counts them."""
    places: frozenset[int]
    """Places, among the concepts kept of the bank, of those left out."""
    unmatched: tuple[str, ...]
    """Entries that the whole bank does not have, in the list's order."""

    def told(self) -> str:
        """Return one line without its end: how many were left out, and which entries found nothing to leave out."""
        line = f"{len(self.places):,} excluded by {self.label}"
        if self.unmatched:
            more = ", ..." if len(self.unmatched) > _NAMED else ""
            first = ", ".join(map(shown, self.unmatched[:_NAMED]))
            line += f", {len(self.unmatched):,} of its entries not in the bank: {first}{more}"
        return line


def read_exclusion(name: str, concepts: Sequence[str], selected: Sequence[str]) -> Exclusion:
    """Read the list `name` and find its entries among a bank's `concepts` and those `selected` of them.

    Raises UserError when the list is missing, unreadable or empty, or when it leaves out all that was selected.
    """
    listing = read_listing("concepts.exclude", name)
    entries, rejects, entries_read = distinct(listing.entries)
    if not entries:
        raise UserError(
            f"concepts.exclude={name}: no usable concept among {entries_read} entries "
            f"({tell_rejects(rejects) or 'nothing in it'}); to exclude nothing, leave the key out"
        )
    wanted = {comparable(entry) for entry in entries}
    places = frozenset(place for place, concept in enumerate(selected) if comparable(concept) in wanted)
    if len(places) == len(selected):
        raise UserError(
            f"concepts.exclude={name}: excludes all {len(selected)} concepts that concepts.bank, concepts.limit and "
            "concepts.sample leave; shorten the list or take more of the bank"
        )
    known = wanted.intersection(map(comparable, concepts))
    unmatched = tuple(entry for entry in entries if comparable(entry) not in known)
    return Exclusion(listing.label, listing.source, entries_read, dict(rejects), places, unmatched)
