"""Language models by name: a local folder, a hub id in the local Hugging Face cache, or the registry's `smollm2`.

No torch, no transformers, no network: it runs at every submission, so that what is missing is told before a job starts.
"""

from __future__ import annotations

import re
from pathlib import Path

from synthclip_hpc.captioning.models.folder import ModelFiles, describe_folder
from synthclip_hpc.captioning.models.offline import go_offline
from synthclip_hpc.captioning.models.smollm2 import SMOLLM2, cache_folder, ensure_smollm2, find_smollm2
from synthclip_hpc.errors import UserError, nearest
from synthclip_hpc.paths import path_of

__all__ = ["ModelFiles", "find_model", "local_path"]

_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def find_model(model: str, revision: str | None = None) -> ModelFiles:
    """Find `captions.model` on this machine: `smollm2`, a local folder, or a hub id in the local Hugging Face cache.

    Nothing is downloaded: from here on this process is offline for Hugging Face's libraries. Raises UserError when the
    model is not there, or lacks something that an engine needs.
    """
    go_offline()
    if model == SMOLLM2:
        _refuse_revision(model, revision)
        return find_smollm2()
    folder = path_of("captions.model", model)
    if model and folder.is_dir():
        _refuse_revision(model, revision)
        folder = folder.resolve()
        return describe_folder(folder.name, folder)
    if not _HUB_ID.fullmatch(model):
        raise UserError(
            f"captions.model={model}: there is no such folder, and it is no hub id. "
            f"Valid: a local folder, ORGANISATION/NAME from the Hugging Face hub, or {SMOLLM2}"
        )
    snapshot = _cached_snapshot(model, revision)
    return describe_folder(model, snapshot, revision=snapshot.name)


def local_path(model: ModelFiles) -> Path:
    """Return the folder to open in a worker; `smollm2` is made now when it is not in the cache yet."""
    if model.path.parent == cache_folder() and not model.path.is_dir():
        return ensure_smollm2()
    return model.path


def _refuse_revision(model: str, revision: str | None) -> None:
    if revision is not None:
        raise UserError(
            f"captions.revision={revision}: only a model from the Hugging Face hub has revisions, and "
            f"captions.model={model} is none; leave captions.revision out"
        )


def _cached_snapshot(model: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import constants, try_to_load_from_cache
    except ImportError:
        raise UserError(
            f"captions.model={model}: to look into the local Hugging Face cache, huggingface_hub is needed: "
            "pip install 'synthclip-hpc[captions]'. Or give the model's folder instead"
        ) from None
    try:
        config = try_to_load_from_cache(model, "config.json", revision=revision)
    except ValueError as error:
        raise UserError(f"captions.model={model}: not a hub id ({error})") from None
    if isinstance(config, str):
        return Path(config).parent
    which, option = (f"revision {revision}", f" --revision {revision}") if revision else ("it", "")
    raise UserError(
        f"captions.model={model}{nearest(model, [SMOLLM2])}: {which} is not in the local Hugging Face cache "
        f"({constants.HF_HUB_CACHE}). Fetch it once on a machine with internet: hf download {model}{option} "
        "(compute nodes need no internet afterwards; HF_HOME moves the cache), or give a local folder"
    )
