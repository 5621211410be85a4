"""Which checkpoints stay, and the removal of the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sharding import files
from synthclip_hpc.training.checkpoints.checking import check_content, check_sizes, read_manifest
from synthclip_hpc.training.checkpoints.layout import (
    MANIFEST,
    STATE,
    Broken,
    Manifest,
    is_gone_name,
    newest_first,
    temporary_step,
)
from synthclip_hpc.training.checkpoints.removing import delete, set_aside

_NEWER_THAN_BROKEN = 2
"""So many whole ones newer than a broken one, before it is removed: it may be all that shows what went wrong."""


@dataclass(frozen=True)
class Found:
    """A published checkpoint of this run, as far as keeping is concerned."""

    step: int
    valid: bool
    marked: bool


def unwanted(found: Sequence[Found], keep: int) -> list[int]:
    """Return the steps to remove, oldest first: neither marked nor among the `keep` newest valid ones.

    Broken ones do not count, and go when two valid ones are newer. The newest valid one is never among them.
    """
    assert keep >= 2, "the newest may be the one that breaks"
    valid = sorted((one.step for one in found if one.valid), reverse=True)
    newest = set(valid[:keep])
    gone = []
    for one in found:
        if one.valid:
            surplus = one.step not in newest and not one.marked
        else:
            surplus = sum(step > one.step for step in valid) >= _NEWER_THAN_BROKEN
        if surplus:
            gone.append(one.step)
    return sorted(gone)


class Keeper:
    """Removes what is not wanted any more from one folder, for one attempt.

    Each checkpoint of another attempt is read from end to end once; afterwards, and for the own ones, whose checksums
    come from writing them, its sizes and the files' identities are looked at. Checkpoints of another plan or data set
    are neither counted nor removed.
    """

    def __init__(self, folder: Path, *, plan_hash: str, inputs_hash: str, keep: int, tell: Callable[[str], None]):
        self._folder = folder
        self._hashes = (plan_hash, inputs_hash)
        self._keep = keep
        self._tell = tell
        self._whole: dict[Path, list[tuple[int, ...]]] = {}
        self._told: set[str] = set()

    def trust(self, path: Path) -> None:
        """Take a checkpoint for whole that was just written and published here."""
        self._whole[path] = _identities(path)

    def sweep(self) -> list[int]:
        """Remove what is unwanted now and what dead attempts left; return the steps of the published ones removed.

        Of another attempt's folder at work that is not newer than the newest valid checkpoint: should its writer live,
        all it could add is older than what stands. Newer ones are left until training has passed them. What cannot be
        removed is told once and tried again with the next sweep.
        """
        found = [one for step, path in self._published() if (one := self._look(step, path)) is not None]
        paths = dict(self._published())
        removed = [step for step in unwanted(found, self._keep) if step in paths and self._remove(paths[step], step)]
        newest = max((one.step for one in found if one.valid), default=-1)
        self._remove_leftovers(newest)
        return removed

    def make_room(self, step: int) -> bool:
        """For a full disk: remove what other attempts left at work up to a step. True when there was any.

        This goes further than `sweep`, which leaves alone what is newer than the newest checkpoint: without room there
        would be no newer one ever.
        """
        return self._remove_leftovers(step)

    def _published(self) -> list[tuple[int, Path]]:
        return newest_first(self._folder, files.list_directory(self._folder))

    def _look(self, step: int, path: Path) -> Found | None:
        try:
            manifest = read_manifest(path)
            if (manifest.plan_hash, manifest.inputs_hash) != self._hashes:
                return None
            check_sizes(path, manifest)
            self._check_once(path, manifest)
        except Broken:
            # Told by who loads; here it is only not counted.
            self._whole.pop(path, None)
            return Found(step, valid=False, marked=False)
        except FileNotFoundError:
            return None
        return Found(step, valid=True, marked=manifest.marked)

    def _check_once(self, path: Path, manifest: Manifest) -> None:
        identities = _identities(path)
        if self._whole.get(path) != identities:
            check_content(path, manifest)
            self._whole[path] = identities

    def _remove_leftovers(self, up_to: int) -> bool:
        removed = False
        for name in files.list_directory(self._folder):
            step = temporary_step(name)
            if step is not None and step <= up_to:
                removed |= self._remove(self._folder / name, step)
            elif is_gone_name(name):
                removed |= self._delete(self._folder / name)
        return removed

    def _remove(self, path: Path, step: int) -> bool:
        self._whole.pop(path, None)
        try:
            gone = set_aside(path, step)
        except OSError as error:
            self._tell_once(path, error)
            return False
        return self._delete(gone)

    def _delete(self, path: Path) -> bool:
        # One folder that cannot be removed must not keep training from saving the next checkpoint.
        try:
            delete(path)
        except OSError as error:
            self._tell_once(path, error)
            return False
        return True

    def _tell_once(self, path: Path, error: OSError) -> None:
        if path.name not in self._told:
            self._told.add(path.name)
            self._tell(f"{path} could not be removed: {error.strerror}; training goes on")


def _identities(path: Path) -> list[tuple[int, ...]]:
    try:
        return [files.identity(path / name) for name in (STATE, MANIFEST)]
    except OSError as error:
        if files.is_gone(error):
            raise FileNotFoundError(f"{path} was removed") from error
        raise
