"""The names inside one phase's directory, `<run>/<stage>/<phase>/`. No other module spells them."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from sharding import files

_ATTEMPT = re.compile(r"[A-Za-z0-9_-]+")
_GROUP = re.compile(r"\d{3,}")
_FOLDED = "folded.jsonl"
_HEAD_BYTES = 256


@dataclass(frozen=True)
class PhaseDirectory:
    """A phase's directory.

        plan.json  inputs.json  seal.json
        data/000/00000.parquet          one output a shard
        markers/000/00000.json          one marker a shard
        markers/folded.jsonl            or all markers of a sealed phase in one file
        partial/000/00000.<attempt>.part    work in progress, one file an attempt
        journals/<attempt>.jsonl        one event file an attempt
        bad/                            what `repair` and adoption moved aside

    Shards fan out by thousands, so no directory grows beyond what shared file systems like. Finding out what is there
    takes one listing a directory and never a `stat` a shard.
    """

    path: Path

    @property
    def plan_path(self) -> Path:
        return self.path / "plan.json"

    @property
    def inputs_path(self) -> Path:
        return self.path / "inputs.json"

    @property
    def seal_path(self) -> Path:
        return self.path / "seal.json"

    @property
    def journals_path(self) -> Path:
        return self.path / "journals"

    def data_path(self, shard: int, suffix: str) -> Path:
        """The output of a shard."""
        return self._fan_out("data", shard) / f"{shard:05d}{suffix}"

    def marker_path(self, shard: int) -> Path:
        """The marker of a shard."""
        return self._fan_out("markers", shard) / f"{shard:05d}.json"

    @property
    def folded_path(self) -> Path:
        """All markers of a sealed phase in one file; a marker of its own is newer than what stands there."""
        return self.path / "markers" / _FOLDED

    def partial_path(self, shard: int, attempt: str) -> Path:
        """The record log of one attempt at a shard."""
        return self._fan_out("partial", shard) / f"{shard:05d}.{_checked(attempt)}.part"

    def staged_path(self, shard: int, attempt: str, suffix: str) -> Path:
        """Where one attempt writes its finished output before it is published."""
        return self._fan_out("partial", shard) / f"{shard:05d}.{_checked(attempt)}{suffix}"

    def journal_path(self, attempt: str) -> Path:
        """The event file of one attempt."""
        return self.journals_path / f"{_checked(attempt)}.jsonl"

    def bad_path(self, path: Path) -> Path:
        """A fresh name for a bad file that is moved aside: nothing is ever overwritten there."""
        return self.path / "bad" / f"{path.name}.{secrets.token_hex(8)}"

    def partials(self, shard: int) -> list[Path]:
        """The record logs that any attempt left for a shard, in the order of their names."""
        return [path for path in self.work_files(shard) if path.name.endswith(".part")]

    def work_files(self, shard: int) -> list[Path]:
        """Everything that any attempt left for a shard on its way to the output: record logs and staged outputs."""
        directory, prefix = self._fan_out("partial", shard), f"{shard:05d}."
        return [directory / name for name in files.list_directory(directory) if name.startswith(prefix)]

    def marked_shards(self) -> set[int]:
        """The shards that have a marker, by name alone: whether it is valid is for `marker.is_done`."""
        groups = files.list_directory(self.path / "markers")
        found = self._numbers("markers", groups, ".json")
        return found | set(range(self._num_folded())) if _FOLDED in groups else found

    def own_markers(self) -> set[int]:
        """The shards that have a marker file of their own, folded or not, by name alone."""
        return self._numbers("markers", files.list_directory(self.path / "markers"), ".json")

    def output_shards(self, suffix: str) -> set[int]:
        """The shards that have an output, by name alone."""
        return self._numbers("data", files.list_directory(self.path / "data"), suffix)

    def is_untouched(self) -> bool:
        """Whether nothing was made here: no output, marker, work in progress, bad file or seal; journals may be."""
        made = (path for kind in ("data", "markers", "partial", "bad") for path in (self.path / kind).rglob("*"))
        return not self.seal_path.exists() and all(path.is_dir() for path in made)

    def attempts(self) -> list[str]:
        """The attempts that have a journal, in the order of their names."""
        names = files.list_directory(self.journals_path)
        return [name.removesuffix(".jsonl") for name in names if name.endswith(".jsonl") and not name.startswith(".")]

    def _fan_out(self, kind: str, shard: int) -> Path:
        if shard < 0:
            raise ValueError(f"shard must be 0 or more, got {shard}")
        return self.path / kind / f"{shard // 1000:03d}"

    def _num_folded(self) -> int:
        """How many markers are folded, as the first line says; 0 for a file that says nothing reliable."""
        try:
            head = json.loads(files.read_start(self.folded_path, _HEAD_BYTES).partition(b"\n")[0])
            return int(head["num_shards"])
        except (FileNotFoundError, ValueError, TypeError, LookupError):
            return 0

    def _numbers(self, kind: str, groups: list[str], suffix: str) -> set[int]:
        pattern = re.compile(r"(\d{5,})" + re.escape(suffix))
        found = set()
        for group in groups:
            if _GROUP.fullmatch(group):
                names = files.list_directory(self.path / kind / group)
                found |= {int(match[1]) for name in names if (match := pattern.fullmatch(name))}
        return found


def _checked(attempt: str) -> str:
    if not _ATTEMPT.fullmatch(attempt):
        raise ValueError(f"attempt must consist of letters, digits, '_' and '-' (such as '4711_3_0'), got {attempt!r}")
    return attempt
