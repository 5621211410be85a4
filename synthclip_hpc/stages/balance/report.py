"""The report of one balancing: accounting and coverage, as the phase `coverage` leaves it and commands read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharding.canonical import canonical_json
from synthclip_hpc.errors import UserError
from synthclip_hpc.stages.balance.accounting import Accounting

if TYPE_CHECKING:
    from synthclip_hpc.curation.coverage import Coverage

SCHEMA = 1
SUFFIX = ".json"


@dataclass(frozen=True)
class BalanceReport:
    """All that is told of one balancing."""

    accounting: Accounting
    threshold: float | None
    """The t of MetaCLIP's rule that the set came to, in captions of a concept; None where it has none."""
    concepts: int
    """Entries of the bank."""
    never_matching: int
    """Those that no caption can name by MetaCLIP's rule, such as those with a mark inside."""
    sets: Mapping[str, Coverage]
    """`before`: all captions with a text, duplicates and those without a match included; `after`: those kept."""

    def lines(self) -> list[str]:
        """Return the accounting, the threshold and the concepts out of reach as plain text."""
        lines = self.accounting.lines()
        if self.threshold is not None:
            lines.append(f"  threshold   {_number(self.threshold):>13}   captions of a concept; more are thinned out")
        seen = ", ".join(f"{self.sets[name].seen[1]:,} {name}" for name in ("before", "after"))
        return [*lines, f"concepts      {self.concepts:>13,}   seen: {seen}; {self.never_matching:,} can never match"]

    def to_bytes(self) -> bytes:
        """Return the one JSON text of this report."""
        return canonical_json(
            {
                "schema": SCHEMA,
                "accounting": self.accounting.to_json(),
                "threshold": self.threshold,
                "concepts": self.concepts,
                "never_matching": self.never_matching,
                "sets": {name: one.to_json() for name, one in self.sets.items()},
            }
        )


def read_report(path: Path) -> BalanceReport:
    """Read a report. Raises UserError for a damaged file, one of a newer version, and one that does not add up."""
    from synthclip_hpc.curation.coverage import Coverage

    try:
        value: dict[str, Any] = json.loads(path.read_bytes())
        if value["schema"] != SCHEMA:
            raise ValueError(f"schema {value['schema']}, this version reads {SCHEMA}")
        sets = {name: Coverage.from_json(value["sets"][name]) for name in ("before", "after")}
        accounting = Accounting.from_json(value["accounting"])
        threshold = None if value["threshold"] is None else float(value["threshold"])
        return BalanceReport(accounting, threshold, int(value["concepts"]), int(value["never_matching"]), sets)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error!r}); run verify, then repair, then resume") from error


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
