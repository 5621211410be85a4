"""A model's files on the node's own disk: copied by the first process of the node, used by all of them."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from sharding.files import make_directory
from synthclip_hpc.models.fingerprint import fingerprint_files
from synthclip_hpc.models.lock import locked

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_NAME_DIGITS = 16


class Copyable(Protocol):
    """A model whose files are known by name and fingerprint; see rendering.diffusion.folder.PipelineFiles."""

    @property
    def name(self) -> str: ...
    @property
    def path(self) -> Path: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def whole(self) -> Sequence[str]: ...
    @property
    def weights(self) -> Sequence[str]: ...


def copied(model: Copyable, folder: str) -> Path:
    """Return a copy of the model's files in `folder`, made now when there is none; environment variables are expanded.

    Of several processes one copies and the others wait for it. A copy counts when its fingerprint is the model's, so a
    half or damaged one is made again. A killed process leaves a temporary folder that nobody believes in and the next
    one removes. When the disk has no room, the model's own folder is returned, and that is said on stderr. Nobody
    removes a copy: `folder` is one that the cluster clears, such as `$TMPDIR`.

    Raises OSError for a folder that cannot be written, RuntimeError when the model's files change meanwhile.
    """
    place = Path(os.path.expandvars(folder)).expanduser().absolute()
    make_directory(place)
    name = f"{model.path.name}-{model.fingerprint[:_NAME_DIGITS]}"
    target = place / name
    with locked(place / f".{name}.lock"):
        if target.is_dir():
            if _is_copy(model, target):
                return target
            shutil.rmtree(target)
        # Under the lock nobody else is at work: what a killed process left is nobody's.
        for left in place.glob(f".{name}.*.tmp"):
            shutil.rmtree(left, ignore_errors=True)
        temporary = place / f".{name}.{secrets.token_hex(8)}.tmp"
        try:
            _copy(model, temporary)
            temporary.rename(target)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            print(f"{model.name}: no room for a copy in {place}; using {model.path}", file=sys.stderr, flush=True)
            return model.path
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return target


def _copy(model: Copyable, target: Path) -> None:
    for name in (*model.whole, *model.weights):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        # A hub snapshot has links: what they point to is copied.
        shutil.copyfile(model.path / name, target / name)
    if not _is_copy(model, target):
        raise RuntimeError(f"{model.path}: the files of {model.name} are not what they were when the worker started")


def _is_copy(model: Copyable, target: Path) -> bool:
    with contextlib.suppress(OSError, ValueError, LookupError):
        return fingerprint_files(target, model.whole, model.weights) == model.fingerprint
    return False
