"""Where a model's files are: a local folder, or a hub id in the local Hugging Face cache.

No torch and no network: it runs at every submission, so that what is missing is told before a job starts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from synthclip_hpc.errors import UserError, nearest
from synthclip_hpc.models.offline import go_offline
from synthclip_hpc.paths import path_of

_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


@dataclass(frozen=True)
class ModelKind:
    """What sets one kind of model apart from another when it is looked for."""

    key: str
    """The argument that names it, e.g. `captions.model`."""
    main_file: str
    """The file that every folder of the kind has, e.g. `config.json`."""
    extra: str
    """The package's extra with what looks into the cache."""
    known: Sequence[str] = ()
    """Names with a meaning of their own, besides folders and hub ids."""

    @property
    def revision_key(self) -> str:
        """The argument with the revision, beside `key`."""
        return self.key.rpartition(".")[0] + ".revision"


@dataclass(frozen=True)
class Found:
    """A model's folder."""

    name: str
    """The hub id, or the folder's name."""
    path: Path
    revision: str | None
    """Commit hash of a hub snapshot."""


def find_folder(kind: ModelKind, model: str, revision: str | None = None) -> Found:
    """Find a local folder, or a hub id's snapshot in the local Hugging Face cache; what is in it is not looked at.

    Nothing is downloaded: from here on this process is offline for Hugging Face's libraries. Raises UserError when the
    model is not there.
    """
    go_offline()
    folder = path_of(kind.key, model)
    if model and folder.is_dir():
        refuse_revision(kind, model, revision)
        folder = folder.resolve()
        return Found(folder.name, folder, None)
    if not _HUB_ID.fullmatch(model):
        also = "".join(f", or {name}" for name in kind.known)
        either = ", " if also else " or "
        raise UserError(
            f"{kind.key}={model}: there is no such folder, and it is no hub id. "
            f"Valid: a local folder{either}ORGANISATION/NAME from the Hugging Face hub{also}"
        )
    snapshot = _cached_snapshot(kind, model, revision)
    return Found(model, snapshot, snapshot.name)


def refuse_revision(kind: ModelKind, model: str, revision: str | None) -> None:
    """Raise UserError when a revision is asked of a model that is not from the hub."""
    if revision is not None:
        raise UserError(
            f"{kind.revision_key}={revision}: only a model from the Hugging Face hub has revisions, and "
            f"{kind.key}={model} is none; leave {kind.revision_key} out"
        )


def _cached_snapshot(kind: ModelKind, model: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import constants, try_to_load_from_cache
    except ImportError:
        raise UserError(
            f"{kind.key}={model}: to look into the local Hugging Face cache, huggingface_hub is needed: "
            f"pip install 'synthclip-hpc[{kind.extra}]'. Or give the model's folder instead"
        ) from None
    try:
        main_file = try_to_load_from_cache(model, kind.main_file, revision=revision)
    except ValueError as error:
        raise UserError(f"{kind.key}={model}: not a hub id ({error})") from None
    if isinstance(main_file, str):
        return Path(main_file).parent
    which, option = (f"revision {revision}", f" --revision {revision}") if revision else ("it", "")
    raise UserError(
        f"{kind.key}={model}{nearest(model, kind.known)}: {which} is not in the local Hugging Face cache "
        f"({constants.HF_HUB_CACHE}). Fetch it once on a machine with internet: hf download {model}{option} "
        "(compute nodes need no internet afterwards; a gated model first wants its terms accepted on its page, and "
        "hf auth login; HF_HOME moves the cache), or give a local folder"
    )
