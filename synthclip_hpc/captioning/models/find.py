"""Language models by name: a local folder, a hub id in the local Hugging Face cache, or the registry's `smollm2`.

No torch, no transformers, no network: it runs at every submission, so that what is missing is told before a job starts.
"""

from __future__ import annotations

from pathlib import Path

from synthclip_hpc.captioning.models.folder import ModelFiles, describe_folder
from synthclip_hpc.captioning.models.smollm2 import SMOLLM2, ensure_smollm2, find_smollm2
from synthclip_hpc.models.find import ModelKind, find_folder, refuse_revision
from synthclip_hpc.models.offline import go_offline
from synthclip_hpc.paths import cache_folder

__all__ = ["ModelFiles", "find_model", "local_path"]

_LANGUAGE_MODEL = ModelKind("captions.model", main_file="config.json", extra="captions", known=(SMOLLM2,))


def find_model(model: str, revision: str | None = None) -> ModelFiles:
    """Find `captions.model` on this machine: `smollm2`, a local folder, or a hub id in the local Hugging Face cache.

    Nothing is downloaded: from here on this process is offline for Hugging Face's libraries. Raises UserError when the
    model is not there, or lacks something that an engine needs.
    """
    if model == SMOLLM2:
        go_offline()
        refuse_revision(_LANGUAGE_MODEL, model, revision)
        return find_smollm2()
    found = find_folder(_LANGUAGE_MODEL, model, revision)
    return describe_folder(found.name, found.path, found.revision)


def local_path(model: ModelFiles) -> Path:
    """Return the folder to open in a worker; `smollm2` is made now when it is not in the cache yet."""
    if model.path.parent == cache_folder() and not model.path.is_dir():
        return ensure_smollm2()
    return model.path
