"""What can be known before a captions job starts: looked at by `submit`, so that no job dies for it an hour later."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from synthclip_hpc.captioning.banks.normalising import MAX_CONCEPT_CHARACTERS
from synthclip_hpc.captioning.prompts import fill
from synthclip_hpc.captioning.registry import settled
from synthclip_hpc.config import CaptionsConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.place import Place

if TYPE_CHECKING:
    from synthclip_hpc.captioning.models.find import ModelFiles
    from synthclip_hpc.captioning.prompts import Prompts

_PACKAGES = {"transformers": ("torch", "transformers"), "vllm": ("vllm",)}
_EXTRAS = {"transformers": {"cpu": "captions", "cuda": "captions"}, "vllm": {"cpu": "vllm-cpu", "cuda": "vllm"}}
_LONGEST_CONCEPT = "\N{SNOWMAN}" * MAX_CONCEPT_CHARACTERS
"""No concept is longer in tokens: a byte-level tokenizer makes at most one token of a byte, three of this sign."""
_TEMPLATE_TOKENS = 64
"""What a chat template puts around a prompt, generously."""
_ASK_TIMEOUT_S = 60


def check_place(config: CaptionsConfig, place: Place, model: ModelFiles | None, prompts: Prompts) -> None:
    """Raise UserError when workers could not open the engine where they are going to run."""
    if model is None:
        return
    _check_packages(config, place)
    _check_gpus(config, place)
    _check_context(config, model, prompts)


def _check_packages(config: CaptionsConfig, place: Place) -> None:
    if place.container is not None:
        return  # what is in an image can only be seen from within
    names = _PACKAGES[config.engine]
    missing = _missing_here(names) if place.python is None else _missing_in(place.python, names)
    if missing:
        where = "here" if place.python is None else f"in slurm.python={' '.join(place.python)}"
        extra = _EXTRAS[config.engine][config.device]
        raise UserError(
            f"captions.engine={config.engine}: {', '.join(missing)} is not installed {where}; "
            f"install the extra: pip install 'synthclip-hpc[{extra}]'"
        )


def _missing_here(names: tuple[str, ...]) -> list[str]:
    return [name for name in names if importlib.util.find_spec(name) is None]


def _missing_in(python: list[str], names: tuple[str, ...]) -> list[str]:
    """Ask another python, without importing anything there: that could take a minute on a login node."""
    question = (
        "import importlib.util as u, json, sys; print(json.dumps([n for n in sys.argv[1:] if not u.find_spec(n)]))"
    )
    try:
        done = subprocess.run(
            [*python, "-c", question, *names],
            capture_output=True,
            text=True,
            timeout=_ASK_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )
        missing: list[str] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return []  # it may exist on the nodes alone; the worker will say
    return missing


def _check_gpus(config: CaptionsConfig, place: Place) -> None:
    from synthclip_hpc.captioning.engines.engine_process import gpus_per_engine

    each = gpus_per_engine(config)
    needed = config.engines * each
    if place.num_gpus >= needed:
        return
    if place.cluster != "local":
        asks = f"asks for {place.num_gpus}" if place.num_gpus else "asks for no GPU"
        raise UserError(
            f"captions.device={config.device}: {_in_number(needed)} needed (captions.engines={config.engines}, "
            f"{each} an engine), and the job {asks}; set slurm.gres=gpu:{needed} or slurm.gpus_per_node={needed} (or "
            "put it into [stage.captions] of the profile), or use captions.device=cpu"
        )
    if place.num_gpus == 0:
        raise UserError(
            "captions.device=cuda: this machine has no NVIDIA GPU (no /dev/nvidia0); use captions.device=cpu with a "
            "small model (preset=laptop-llm), or submit to a cluster"
        )
    raise UserError(
        f"captions.engines={config.engines}: {_in_number(needed)} needed, {each} an engine, and this machine has "
        f"{place.num_gpus}; lower captions.engines or captions.vllm.tensor_parallel"
    )


def _in_number(gpus: int) -> str:
    return "1 GPU is" if gpus == 1 else f"{gpus} GPUs are"


def _check_context(config: CaptionsConfig, model: ModelFiles, prompts: Prompts) -> None:
    """Refuse a prompt that cannot fit; counted in bytes, of which a token has at least one."""
    answer = settled(config, prompts).max_tokens
    longest = _TEMPLATE_TOKENS + len(fill(prompts.draw(0), _LONGEST_CONCEPT).encode())
    if longest + answer <= model.max_tokens:
        return
    if (exact := _count_tokens(model.path, fill(prompts.draw(0), ""))) is not None:
        longest = _TEMPLATE_TOKENS + exact + MAX_CONCEPT_CHARACTERS
    if longest + answer > model.max_tokens:
        raise UserError(
            f"captions.prompt={config.prompt}: takes up to {longest} tokens, an answer {answer}, and {model.name} has "
            f"a context of {model.max_tokens}; shorten the prompt, lower captions.max_tokens, or take another model"
        )


def _count_tokens(folder: Path, text: str) -> int | None:
    """Count tokens by the model's own tokenizer; None where that cannot be loaded here."""
    if importlib.util.find_spec("tokenizers") is None or not (folder / "tokenizer.json").is_file():
        return None
    from tokenizers import Tokenizer

    try:
        return len(Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids)
    except Exception:  # all it raises; a file that it cannot read may be one for a newer version
        return None
