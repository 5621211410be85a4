"""What is left of the markers of a sealed phase when `folding` has put them into one file: a line a shard.

The first line says how many there are, line n + 1 is the marker of shard n as it stood in its own file, provenance
included. The file is written whole and never changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from sharding import files, schema
from sharding.directory import PhaseDirectory


def encode(markers: Iterable[Mapping[str, Any]]) -> bytes:
    """The content of the file, of the markers of shards 0, 1, 2, … as `Marker.to_json` gives them."""
    lines = [json.dumps(marker, sort_keys=True, ensure_ascii=False, allow_nan=False) for marker in markers]
    head = json.dumps({"schema": schema.SCHEMA, "num_shards": len(lines)})
    return "".join(f"{line}\n" for line in [head, *lines]).encode()


def folded_line(directory: PhaseDirectory, shard: int) -> bytes | None:
    """The folded marker of a shard as JSON; None if there is none."""
    path = directory.folded_path
    try:
        # A file that was replaced is read anew.
        lines = _lines(path, files.identity(path))
    except FileNotFoundError:
        return None
    return lines[shard + 1] if 0 <= shard < len(lines) - 1 else None


@lru_cache(maxsize=2)
def _lines(path: Path, identity: tuple[int, ...]) -> list[bytes]:
    # Not `splitlines`: texts may hold characters that it takes for the end of a line.
    return files.read_file(path).rstrip(b"\n").split(b"\n")
