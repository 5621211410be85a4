"""Lists of concepts as they come: a built-in name or a file in one of several forms in, its entries and source out."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path, PurePath
from typing import NamedTuple

from synthclip_hpc.captioning.banks.normalising import shown
from synthclip_hpc.config import BUILT_IN_BANKS
from synthclip_hpc.errors import UserError, nearest
from synthclip_hpc.paths import path_of

METACLIP_GIT_BLOB = "2691a90d6690440916c87348d2b9548157570a2c"
"""Git's id of `metadata.json`, 500,000 entries, in the repositories of MetaCLIP and of SynthCLIP: the paper's bank."""
METACLIP = "MetaCLIP metadata.json"

BUILT_IN_FILES = {"wordnet": "wordnet.txt.gz", "emoji": "emoji.tsv", "emoji-demo": "emoji.tsv"}
"""File of each built-in bank, in `captioning/banks`; of `emoji-demo` the rows with a 1 in the column `demo`."""


class Listing(NamedTuple):
    """The entries of a list as they stand in it, and where they came from."""

    entries: Iterable[str]
    label: str
    """What to call the list in one word or two, such as `wordnet`, `words.txt`, `MetaCLIP metadata.json`."""
    source: str
    """The label, and what tells this very content: for a file, the id that git would give it (unpacked)."""


def read_listing(key: str, name: str) -> Listing:
    """Read the list that the configuration's `key` names: a built-in bank, or the path of a file.

    Forms: text with an entry a line (every line, one that begins with `#` too), a JSON list of strings (.json), a table
    whose first column counts (.tsv); each may be packed (.gz, .zst). UTF-8, with or without a byte order mark.
    Raises UserError when it is missing, unreadable, damaged or wrongly encoded; an empty one has no entries.
    """
    told = f"{key}={name}"
    if name in BUILT_IN_BANKS:
        file = BUILT_IN_FILES[name]
        path, label, source = PurePath(file), name, f"built in: {name}"
        content = _unpack((resources.files("synthclip_hpc") / "captioning" / "banks" / file).read_bytes(), path)
    else:
        path, content = _read(key, name)
        blob = git_blob_id(content)
        label = METACLIP if blob == METACLIP_GIT_BLOB else shown(path.name)
        source = f"{label} (git blob {blob}{' when unpacked' if _is_packed(path) else ''})"
    text = _decode(content, told)
    return Listing(_entries(_demo_rows(text) if name == "emoji-demo" else text, path, told), label, source)


def _demo_rows(text: str) -> str:
    return "".join(f"{line}\n" for line in text.splitlines() if line.endswith("\t1"))


def git_blob_id(content: bytes) -> str:
    """Return the id that git gives a file of this content: the sha1 of `blob <size>`, a NUL byte, and the content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _read(key: str, name: str) -> tuple[Path, bytes]:
    told, path = f"{key}={name}", path_of(key, name)
    try:
        return path, _unpack(path.read_bytes(), path)
    except FileNotFoundError as error:
        known = "" if "/" in name or "." in name else nearest(name, BUILT_IN_BANKS)
        raise UserError(
            f"{told}: no such file{known}. "
            f"Valid: {', '.join(BUILT_IN_BANKS)}, or the path of a .txt, .json or .tsv (.gz, .zst)"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{told}: cannot be read: {error.args[-1] if error.args else error}") from error


def _unpack(content: bytes, path: PurePath) -> bytes:
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return gzip.decompress(content)
    if suffix == ".zst":
        import pyarrow

        with pyarrow.CompressedInputStream(pyarrow.BufferReader(content), "zstd") as stream:
            unpacked: bytes = stream.read()
            return unpacked
    return content


def _decode(content: bytes, told: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{told}: line {line} is not UTF-8; convert it, e.g. iconv -f latin1 -t utf-8") from error


def _is_packed(path: PurePath) -> bool:
    return path.suffix.lower() in (".gz", ".zst")


def _entries(text: str, path: PurePath, told: str) -> Iterable[str]:
    form = (path.with_suffix("") if _is_packed(path) else path).suffix.lower()
    if form == ".json":
        return _json_entries(text, told)
    return _tsv_entries(text) if form == ".tsv" else _lines(text)


def _json_entries(text: str, told: str) -> list[str]:
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{told}: not valid JSON: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise UserError(f"{told}: wanted a JSON list of strings")
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
