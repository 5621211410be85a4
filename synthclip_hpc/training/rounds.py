"""The files by which the nodes of one training job find one another and tell how a round ended.

A round is one life of torchrun on all nodes. Its folder, `<phase>/partial/rounds/<attempt>-<round>/`:

    invitation.json     by the worker of the first node: where the launchers meet
    here-<node>         by the worker of each other node that has come
    outcome.json        by rank 0: `finished` or `stopped`, and at which step
    error-<rank>.json   by a rank that ended with an error of its own
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sharding.canonical import canonical_json
from sharding.directory import PhaseDirectory
from sharding.files import list_directory, make_directory, replace_file

ROUNDS = "rounds"


@dataclass(frozen=True)
class Outcome:
    """How a round ended, by rank 0: `finished` (all steps are done) or `stopped` (asked to, after this step)."""

    how: str
    step: int


@dataclass(frozen=True)
class RankError:
    """An error that ended a rank."""

    rank: int
    kind: str
    """`user` (a mistake to mend), `peer` (another process was gone: a rank, or a loader of this one), `own`."""
    type: str
    message: str
    traceback: str


@dataclass(frozen=True)
class Round:
    """One round of an attempt."""

    folder: Path

    @classmethod
    def of(cls, directory: PhaseDirectory, attempt: str, number: int) -> Round:
        """The round of this number, from 0."""
        return cls(directory.path / "partial" / ROUNDS / f"{attempt}-{number:03d}")

    def invite(self, address: str, port: int) -> None:
        """Say where the launchers meet."""
        make_directory(self.folder)
        replace_file(self.folder / "invitation.json", canonical_json({"address": address, "port": port}))

    def invitation(self) -> tuple[str, int]:
        """Return address and port. Raises FileNotFoundError before there is an invitation."""
        told = json.loads((self.folder / "invitation.json").read_bytes())
        return str(told["address"]), int(told["port"])

    def come(self, node: str) -> None:
        """Say that a node's worker has seen the invitation."""
        replace_file(self.folder / f"here-{node}", b"")

    def here(self) -> list[str]:
        """Return the nodes that have come, without the first."""
        return [name.removeprefix("here-") for name in list_directory(self.folder) if name.startswith("here-")]

    def end(self, outcome: Outcome) -> None:
        """Say how it ended; by rank 0."""
        replace_file(self.folder / "outcome.json", canonical_json(asdict(outcome)))

    def fail(self, error: RankError) -> None:
        """Say which error ended a rank; by that rank."""
        make_directory(self.folder)
        replace_file(self.folder / f"error-{error.rank}.json", canonical_json(asdict(error)))

    def outcome(self) -> Outcome | None:
        """Return how it ended; None when rank 0 did not live to tell."""
        told = self._read("outcome.json")
        return Outcome(**told) if told else None

    def errors(self) -> list[RankError]:
        """Return the errors that ranks told of: those that others' ends explain come last."""
        names = [name for name in list_directory(self.folder) if re.fullmatch(r"error-\d+\.json", name)]
        told = [RankError(**found) for name in names if (found := self._read(name))]
        return sorted(told, key=lambda error: (("user", "own", "peer").index(error.kind), error.rank))

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads((self.folder / name).read_bytes())
        except FileNotFoundError:
            return None
        return found


def newest_round(directory: PhaseDirectory, attempt: str) -> int | None:
    """Return the number of the attempt's newest round that has an invitation; None before the first."""
    names = list_directory(directory.path / "partial" / ROUNDS)
    found = [int(match[1]) for name in names if (match := re.fullmatch(rf"{re.escape(attempt)}-(\d+)", name))]
    invited = [number for number in found if (Round.of(directory, attempt, number).folder / "invitation.json").exists()]
    return max(invited, default=None)
