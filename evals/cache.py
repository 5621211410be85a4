"""Arrays kept on disk under the hash of all that they follow from.

    CACHE/<first 32 digits of the hash>/record.json   the identity in full, and size and checksum of each array
                                        NAME.npy

An entry appears whole, by the rename of a folder. One that does not hold what it should is made anew, and that is told.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evals.errors import EvalError

Arrays = dict[str, npt.NDArray[Any]]
_SCHEMA = 1
_RECORD = "record.json"


def identity_hash(identity: Mapping[str, Any]) -> str:
    """Return the SHA-256 of an identity, which is what JSON can hold."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def remember(
    folder: Path | None, identity: Mapping[str, Any], names: Sequence[str], make: Callable[[], Arrays]
) -> Arrays:
    """Return the arrays `names` of an identity: from the cache, or made and put there. Without a folder: just made.

    Two processes may do the same at once; the first to finish publishes. Raises EvalError when the folder cannot be
    written, or `identity` has nothing to do with what lies under its hash (which takes a hand that moves folders).
    """
    if folder is None:
        return make()
    full = {"schema": _SCHEMA, **json.loads(json.dumps(identity))}
    place = folder / identity_hash(full)[:32]
    if place.exists():
        found = _read(place, full, names)
        if not isinstance(found, str):
            return found
        print(f"evals: {place}: {found}; made anew", file=sys.stderr)
    arrays = make()
    if sorted(arrays) != sorted(names):
        raise ValueError(f"made {sorted(arrays)}, promised {sorted(names)}")
    try:
        _publish(place, full, arrays)
    except OSError as error:
        raise EvalError(
            f"cache={folder}: cannot be written ({error.strerror}); give another folder, or none"
        ) from error
    return arrays


def _read(place: Path, identity: Mapping[str, Any], names: Sequence[str]) -> Arrays | str:
    """Return the arrays of an entry, or what is wrong with it."""
    try:
        record = json.loads((place / _RECORD).read_text(encoding="utf-8"))
        if record["identity"] != identity:
            return "belongs to another model or data set"
        arrays: Arrays = {}
        for name in names:
            path = place / f"{name}.npy"
            if _checksum(path) != record["sha256"][name]:
                return f"{path.name} has been changed or cut off"
            arrays[name] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, LookupError, TypeError, EOFError) as error:
        return f"cannot be read ({type(error).__name__})"
    return arrays


def _publish(place: Path, identity: Mapping[str, Any], arrays: Arrays) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=place.parent, prefix=".making-"))
    try:
        checksums = {}
        for name, array in arrays.items():
            np.save(made / f"{name}.npy", array, allow_pickle=False)
            checksums[name] = _checksum(made / f"{name}.npy")
        record = {"identity": identity, "sha256": checksums}
        (made / _RECORD).write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")
        if place.exists() and isinstance(_read(place, identity, list(arrays)), str):
            # Out of the way first: a folder cannot be renamed onto one that has something in it.
            aside = Path(tempfile.mkdtemp(dir=place.parent, prefix=".broken-"))
            place.rename(aside / "entry")
            shutil.rmtree(aside)
        if not place.exists():
            made.chmod(0o755)
            _rename_if_free(made, place)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _rename_if_free(made: Path, place: Path) -> None:
    try:
        made.rename(place)
    except OSError:
        if not place.is_dir():
            raise
        # Another process was first; what it published has the same identity.


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
