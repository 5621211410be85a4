"""The caption engines by name, what each of them takes from the configuration, and how it is opened."""

from __future__ import annotations

import dataclasses
import importlib
import math
from typing import Any

from synthclip_hpc.captioning.answers.answering import Rules
from synthclip_hpc.captioning.answers.cleaning import RULES_VERSION
from synthclip_hpc.captioning.engines.emoji_wording import choices_hash
from synthclip_hpc.captioning.engines.engine import Engine
from synthclip_hpc.captioning.engines.runtime import dtype_name
from synthclip_hpc.captioning.engines.template import TemplateEngine, template_prompts
from synthclip_hpc.captioning.models.find import ModelFiles
from synthclip_hpc.captioning.prompts import Prompts, find_prompts, names_concept
from synthclip_hpc.config import CaptionsConfig, TemplateConfig, TransformersConfig, VllmConfig, flatten, get
from synthclip_hpc.config.captions import WORDINGS
from synthclip_hpc.errors import UserError, nearest
from synthclip_hpc.models.runtime import DEVICES, DTYPES

ENGINES = ("template", "transformers", "vllm")
_LEFT_OPEN = ("dtype", "max_tokens")
"""Keys with a value that means: as it fits."""
TOKENS_PER_CAPTION = 64
"""What `captions.max_tokens=0` allows: three times what 15 words need; an answer that wants more is too long."""


def is_template(config: CaptionsConfig) -> bool:
    """Tell whether captions are filled templates: no model, no checks."""
    return config.engine == "template"


def uses_model(config: CaptionsConfig) -> bool:
    """Tell whether the engine opens the files of a language model. An engine of the user's finds its own."""
    return config.engine in ("transformers", "vllm")


def prompts_of(config: CaptionsConfig) -> Prompts:
    """Return what the engine is asked."""
    return template_prompts(config.template.wording) if is_template(config) else find_prompts(config.prompt)


def rules_of(config: CaptionsConfig) -> Rules | None:
    """Return what answers must be like; None where every answer is a caption."""
    if is_template(config):
        return None
    return Rules(max_words=config.max_words, require_concept=config.require_concept, max_tries=config.max_tries)


def check_engine(config: CaptionsConfig) -> None:
    """Raise UserError when a value cannot be."""
    module, colon, function = config.engine.partition(":")
    if config.engine not in ENGINES and not (colon and module and function.isidentifier()):
        raise UserError(
            f"captions.engine={config.engine}: no such engine{nearest(config.engine, ENGINES)}. "
            f"Valid: {', '.join(ENGINES)}, or module:function of your own"
        )
    for key in ("per_concept", "shard_items", "batch_items", "max_tries", "threads", "engines"):
        if getattr(config, key) < 1:
            raise UserError(f"captions.{key}={getattr(config, key)}: wanted a whole number from 1")
    for key in ("max_tokens", "max_words", "transformers.device_batch_items"):
        if (value := get(config, key)) < 0:
            raise UserError(f"captions.{key}={value}: wanted 0 or a positive number")
    for key in ("temperature", "template.items_per_s"):
        if not 0 <= (value := get(config, key)) < math.inf:
            raise UserError(f"captions.{key}={value}: wanted 0 or more")
    for key in ("top_p", "vllm.gpu_memory"):
        if not 0 < (value := get(config, key)) <= 1:
            raise UserError(f"captions.{key}={value}: wanted more than 0 and at most 1")
    for key in ("presence_penalty", "frequency_penalty"):
        if not -2 <= (value := get(config, key)) <= 2:
            raise UserError(f"captions.{key}={value}: wanted -2 to 2")
    for key in ("vllm.tensor_parallel", "vllm.cpu_cache_gib"):
        if (value := get(config, key)) < 1:
            raise UserError(f"captions.{key}={value}: wanted a whole number from 1")
    for key, known in (("device", DEVICES), ("dtype", DTYPES), ("template.wording", WORDINGS)):
        if (value := get(config, key)) not in known:
            raise UserError(f"captions.{key}={value}: no such {key}{nearest(value, known)}. Valid: {', '.join(known)}")
    if (config.engine, config.device) == ("vllm", "cpu") and config.vllm.tensor_parallel > 1:
        raise UserError(
            f"captions.vllm.tensor_parallel={config.vllm.tensor_parallel}: spreads a model over GPUs, and with "
            "captions.device=cpu there are none; leave it out, and give captions.threads the CPUs"
        )


def check_prompts(config: CaptionsConfig, prompts: Prompts) -> None:
    """Raise UserError when captions must name a concept that nobody asks for: nearly all would be rejected."""
    if config.require_concept and not is_template(config) and not names_concept(prompts):
        raise UserError(
            f"captions.require_concept=true: captions.prompt={config.prompt} asks for no concept, so that nearly all "
            "captions would be rejected; leave require_concept out, or take a prompt with a concept, such as paper"
        )


def settled(config: CaptionsConfig, prompts: Prompts) -> CaptionsConfig:
    """Return the configuration with what it leaves open filled in."""
    max_tokens = config.max_tokens or TOKENS_PER_CAPTION * prompts.num_captions
    return dataclasses.replace(config, max_tokens=max_tokens, dtype=dtype_name(config))


def identity_of(config: CaptionsConfig, model: ModelFiles | None, prompts: Prompts) -> dict[str, Any]:
    """Return everything about engine, model, prompts and rules that an answer can depend on, by name."""
    found: dict[str, Any] = {"captions.engine": config.engine, "captions.prompt.sha256": prompts.sha256}
    if is_template(config):
        return found | ({"captions.wording_choices": choices_hash()} if config.template.wording == "emoji" else {})
    found["captions.rules"] = RULES_VERSION
    found["captions.model.name"] = model_column(config, model)
    if model is not None:
        found["captions.model.fingerprint"] = model.fingerprint
    # Under names of their own: a plan has what a key came to, and under the key itself what was asked for.
    found["captions.settled"] = {name: getattr(settled(config, prompts), name) for name in _LEFT_OPEN}
    leave_out = {"engine", "model", "revision", "prompt", "per_concept", "shard_items", "batch_items", *_LEFT_OPEN}
    if config.device != "cpu":
        leave_out |= {"threads", "vllm.cpu_cache_gib"}
    others = [("template.", TemplateConfig), ("transformers.", TransformersConfig), ("vllm.", VllmConfig)]
    foreign = tuple(prefix for prefix, _ in others if not prefix.startswith(config.engine))
    for key, value, item in flatten(config):
        if item.metadata["role"] == "identity" and key not in leave_out and not key.startswith(foreign):
            found[f"captions.{key}"] = value
    return found


def model_column(config: CaptionsConfig, model: ModelFiles | None) -> str:
    """Return what the column `model` says: for an engine of the user's its name, and the model's if one was given."""
    if is_template(config):
        return "template"
    if model is not None:
        return model.name
    return config.engine if config.model == CaptionsConfig.model else f"{config.engine} {config.model}"


def open_engine(config: CaptionsConfig, model: ModelFiles | None) -> Engine:
    """Load the configured engine. Raises UserError when what it needs is not there."""
    check_engine(config)
    if is_template(config):
        return TemplateEngine(items_per_s=config.template.items_per_s)
    config = settled(config, find_prompts(config.prompt))
    if config.engine == "transformers":
        from synthclip_hpc.captioning.engines.transformers_engine import open_transformers

        return open_transformers(config, _needed(config, model))
    if config.engine == "vllm":
        from synthclip_hpc.captioning.engines.vllm_engine import open_vllm

        return open_vllm(config, _needed(config, model))
    return _open_own(config, model)


def _needed(config: CaptionsConfig, model: ModelFiles | None) -> ModelFiles:
    if model is None:
        raise ValueError(f"captions.engine={config.engine} opens a model, and none was given")
    return model


def _open_own(config: CaptionsConfig, model: ModelFiles | None) -> Engine:
    module, _, function = config.engine.partition(":")
    try:
        opener = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"captions.engine={config.engine}: {error}; install the module where workers run, or put its folder on "
            "PYTHONPATH"
        ) from error
    try:
        engine: Engine = opener(config, model)
    except TypeError as error:
        # What a function of another shape raises; whatever else goes wrong inside it is its author's to see whole.
        raise UserError(
            f"captions.engine={config.engine}: {function}(config, model) cannot be called so: {error}; see README, "
            "'Writing your own engine'"
        ) from error
    return engine
