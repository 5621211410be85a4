"""What became of every caption that came in: counts in = rejects + not selected + kept, to the last one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

DUPLICATE = "duplicate"
"""Reject reason of a caption whose text had come before."""


@dataclass(frozen=True)
class Accounting:
    """Where the captions of one run went."""

    captions_in: int
    """All that the stage was given, those that were rejected at writing included."""
    rejects: Mapping[str, int]
    """Reason -> captions: `caption_...` (rejected at writing), those of a source's rows, `no_match`, `duplicate`."""
    usable: int
    """Distinct captions to select from."""
    not_selected: int
    """Usable captions that are left out: their concepts have enough others."""
    kept: int
    """Captions of the balanced set."""

    def check(self) -> None:
        """Raise ValueError when a caption is missing, or counted twice."""
        rejected = sum(self.rejects.values())
        if min(self.captions_in, self.usable, self.not_selected, self.kept, *self.rejects.values()) < 0:
            raise ValueError(f"balance: a count is below 0: {self}")
        if self.captions_in != rejected + self.usable:
            raise ValueError(
                f"balance: {self.captions_in} captions came in, but {rejected} rejected and {self.usable} usable are "
                f"{rejected + self.usable} ({dict(self.rejects)}); run verify"
            )
        if self.usable != self.not_selected + self.kept:
            raise ValueError(
                f"balance: of {self.usable} usable captions {self.not_selected} are not selected and {self.kept} kept, "
                f"which is {self.not_selected + self.kept}; run verify"
            )

    def lines(self) -> list[str]:
        """Return the accounting as a few lines of plain text, most frequent rejects first."""
        by_count = sorted(self.rejects.items(), key=lambda one: (-one[1], one[0]))
        told = ", ".join(f"{count:,} {reason}" for reason, count in by_count)
        return [
            f"captions in   {self.captions_in:>13,}",
            f"  rejected    {sum(self.rejects.values()):>13,}" + (f"   {told}" if told else ""),
            f"  usable      {self.usable:>13,}   distinct, and {self.not_selected:,} of them not selected",
            f"  kept        {self.kept:>13,}",
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the counts by name."""
        return {**asdict(self), "rejects": dict(self.rejects)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` returned. Raises KeyError or TypeError for something else, ValueError as `check` does."""
        names = ("captions_in", "usable", "not_selected", "kept")
        found = cls(rejects=dict(value["rejects"]), **{name: int(value[name]) for name in names})
        found.check()
        return found
