"""Concept banks: from a file in one of several forms to an ordered list of distinct, normalised concepts.

Normalised = Unicode NFC, white space runs folded to one space, ends stripped. Case is kept: MetaCLIP's matching, which
balancing follows, is case-sensitive. Every entry read is either a concept, a duplicate or a reject with its reason.
"""

from __future__ import annotations

import gzip
import json
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path

from sharding.files import fingerprint
from sharding.ids import derive, item_id
from synthclip_hpc.config import BUILT_IN_BANKS
from synthclip_hpc.errors import UserError, nearest

MAX_CONCEPT_CHARACTERS = 256
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_WHITE_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Bank:
    """Concepts in order, and what became of the entries that are not among them."""

    name: str
    concepts: tuple[str, ...]
    entries_read: int
    rejects: dict[str, int]
    """Reason -> entries: `duplicate`, `empty`, `too_long`, `control_character`, `not_selected`."""

    @cached_property
    def sha256(self) -> str:
        """Hash of the normalised concepts in order: the bank's identity, whatever file it came from."""
        return fingerprint(self.concepts)


def read_bank(name: str, *, limit: int = 0, sample: int = 0, seed: int = 0) -> Bank:
    """Read and normalise a bank, then keep `limit` first or `sample` drawn concepts (0 = all).

    A sample keeps the bank's order, and a concept's draw depends on the seed and the concept alone, so that editing
    the bank does not change which of the others are drawn first. Raises UserError when the bank is missing, empty,
    unreadable or wrongly encoded, or asks for more concepts than there are.
    """
    for key, value in (("concepts.limit", limit), ("concepts.sample", sample)):
        if value < 0:
            raise UserError(f"{key}={value}: wanted 0 (all) or a positive number")
    if limit and sample:
        raise UserError(f"concepts.limit={limit} and concepts.sample={sample}: give one of the two")
    concepts, rejects, entries_read = _distinct(_entries(name))
    if not concepts:
        raise UserError(f"concepts.bank={name}: no usable concept among {entries_read} entries ({_told(rejects)})")
    wanted = limit or sample or len(concepts)
    if wanted > len(concepts):
        key = "concepts.limit" if limit else "concepts.sample"
        raise UserError(f"{key}={wanted}: the bank {name} has {len(concepts)} concepts; ask for that many or fewer")
    if sample:
        kept = set(sorted(concepts, key=lambda concept: _draw(seed, concept))[:sample])
        selected = [concept for concept in concepts if concept in kept]
    else:
        selected = concepts[:wanted]
    if len(selected) < len(concepts):
        rejects["not_selected"] = len(concepts) - len(selected)
    return Bank(name, tuple(selected), entries_read, dict(rejects))


def _draw(seed: int, concept: str) -> int:
    return derive(seed, item_id(concept), "concepts.sample")


def _told(rejects: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(rejects.items())) or "nothing in it"


def _distinct(entries: Iterable[str]) -> tuple[list[str], Counter[str], int]:
    seen: dict[str, None] = {}
    rejects: Counter[str] = Counter()
    entries_read = 0
    for entry in entries:
        entries_read += 1
        if entry.isascii() and entry.isprintable() and "  " not in entry:
            concept = entry.strip()
        elif _CONTROL.search(entry):
            rejects["control_character"] += 1
            continue
        else:
            concept = _WHITE_SPACE.sub(" ", unicodedata.normalize("NFC", entry)).strip()
        if not concept:
            rejects["empty"] += 1
        elif len(concept) > MAX_CONCEPT_CHARACTERS:
            rejects["too_long"] += 1
        elif concept in seen:
            rejects["duplicate"] += 1
        else:
            seen[concept] = None
    return list(seen), rejects, entries_read


def _entries(name: str) -> Iterator[str]:
    if name in BUILT_IN_BANKS:
        text = (resources.files("synthclip_hpc") / "captioning" / "banks" / f"{name}.tsv").read_text(encoding="utf-8")
        return _tsv_entries(text)
    path = Path(name).expanduser()
    text = _read_text(path, name)
    suffix = _suffix(path.with_suffix("")) if _suffix(path) in (".gz", ".zst") else _suffix(path)
    if suffix == ".json":
        return iter(_json_entries(text, name))
    if suffix == ".tsv":
        return _tsv_entries(text)
    return iter(_lines(text))


def _suffix(path: Path) -> str:
    return path.suffix.lower()


def _read_text(path: Path, name: str) -> str:
    try:
        data = path.read_bytes()
        if _suffix(path) == ".gz":
            data = gzip.decompress(data)
        elif _suffix(path) == ".zst":
            import pyarrow

            with pyarrow.CompressedInputStream(pyarrow.BufferReader(data), "zstd") as stream:
                data = stream.read()
    except FileNotFoundError as error:
        known = "" if "/" in name or "." in name else nearest(name, BUILT_IN_BANKS)
        raise UserError(
            f"concepts.bank={name}: no such file{known}. "
            f"Valid: {', '.join(BUILT_IN_BANKS)}, or the path of a .txt, .json or .tsv (.gz, .zst)"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"concepts.bank={name}: cannot be read: {error.args[-1] if error.args else error}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(
            f"concepts.bank={name}: line {line} is not UTF-8; convert it, e.g. iconv -f latin1 -t utf-8"
        ) from error


def _json_entries(text: str, name: str) -> list[str]:
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"concepts.bank={name}: not valid JSON: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise UserError(f"concepts.bank={name}: wanted a JSON list of strings")
    return entries


def _lines(text: str) -> list[str]:
    """Split at line feeds only: str.splitlines would also cut inside an entry, at U+2028 and its like."""
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _tsv_entries(text: str) -> Iterator[str]:
    """Yield the first column; a first line `concept` or `entry` is a heading."""
    for number, line in enumerate(_lines(text)):
        entry = line.split("\t", 1)[0]
        if number or entry not in ("concept", "entry"):
            yield entry
