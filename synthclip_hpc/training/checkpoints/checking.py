"""Whether a published checkpoint is what its manifest says."""

from __future__ import annotations

from pathlib import Path

from sharding import files
from synthclip_hpc.training.checkpoints.layout import MANIFEST, STATE, Broken, Manifest, published_step


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of a published checkpoint; its files are not looked at.

    Raises Broken when it is damaged or not that folder's, FileNotFoundError when the whole folder is gone.
    """
    try:
        data = files.read_file(path / MANIFEST)
    except OSError as error:
        raise _broken_or_gone(path, MANIFEST, error) from error
    manifest = Manifest.from_bytes(data)
    if manifest.step != published_step(path.name):
        raise Broken(f"{MANIFEST} is of step {manifest.step}")
    if STATE not in manifest.files:
        raise Broken(f"{MANIFEST} names no {STATE}")
    return manifest


def check_sizes(path: Path, manifest: Manifest) -> None:
    """Compare the sizes of all files. Raises Broken, or FileNotFoundError when the whole folder is gone."""
    for name, facts in manifest.files.items():
        try:
            size = files.size_bytes(path / name)
        except OSError as error:
            raise _broken_or_gone(path, name, error) from error
        if size != facts.bytes:
            raise Broken(f"{name} has {size:,} bytes instead of {facts.bytes:,}")


def check_content(path: Path, manifest: Manifest) -> None:
    """Read all files and compare their checksums. Raises as `check_sizes`."""
    for name, facts in manifest.files.items():
        try:
            size, sha256 = files.checksum(path / name)
        except OSError as error:
            raise _broken_or_gone(path, name, error) from error
        if (size, sha256) != (facts.bytes, facts.sha256):
            raise Broken(f"{name} has the sha256 {sha256[:12]}… instead of {facts.sha256[:12]}…")


def verify(path: Path) -> Manifest:
    """Read a published checkpoint from end to end. Raises Broken, or FileNotFoundError when it is gone."""
    manifest = read_manifest(path)
    # Sizes first: what a kill or a full disk leaves is told without reading gigabytes.
    check_sizes(path, manifest)
    check_content(path, manifest)
    return manifest


def _broken_or_gone(path: Path, name: str, error: OSError) -> Exception:
    # A folder is removed by renaming it: either all of its files are there, or the folder is not.
    if files.is_gone(error) and not path.exists():
        return FileNotFoundError(f"{path} was removed")
    return Broken(f"{name} cannot be read: {error.strerror}")
