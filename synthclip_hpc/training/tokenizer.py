"""The tokenizer that belongs to a model: open_clip's own, or the one of the Hugging Face hub that its JSON names."""

from __future__ import annotations

from typing import Any

from synthclip_hpc.errors import UserError
from synthclip_hpc.training.model_config import ModelConfig


def tokenizer_of(model: ModelConfig) -> Any:
    """Return what `open_clip.get_tokenizer` does for this configuration. Raises UserError when it is not here."""
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    text = model.config["text_cfg"]
    options = dict(text.get("tokenizer_kwargs", {}))
    name = text.get("hf_tokenizer_name")
    if not name:
        return SimpleTokenizer(context_length=model.context_length, **options)
    try:
        return HFTokenizer(name, context_length=model.context_length, **options)
    except (OSError, ValueError) as error:
        raise UserError(
            f"train.model={model.name}: its tokenizer {name} is not on this machine ({error}). Fetch it once with "
            f"internet: python -c \"import transformers; transformers.AutoTokenizer.from_pretrained('{name}')\""
        ) from error
