"""The chat models that tests of the engines open: a tiny one with random weights, made in milliseconds, and SmolLM2."""

from __future__ import annotations

import json
import string
from pathlib import Path

import pytest

from synthclip_hpc.captioning.models.find import ModelFiles, find_model, local_path
from synthclip_hpc.errors import UserError

_TEXT = "[INST] [/INST] write a caption of the red blue fox lighthouse violin in under moon snow"
# As Mistral's: the template itself writes the BOS token.
TEMPLATE = "{{ bos_token }}[INST] {{ messages[0]['content'] }} [/INST]"
CONTEXT_TOKENS = 256


def make_tokenizer(folder: Path, template: str | None = TEMPLATE) -> None:
    """Write a tokenizer that, as Mistral's, puts BOS before what it encodes and names no padding token."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "<s>", "</s>", "<|end|>", *_TEXT.split(" "), *string.ascii_letters, *string.digits, *".,:"]
    vocabulary = {word: place for place, word in enumerate(dict.fromkeys(words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    fast.add_special_tokens({"additional_special_tokens": ["<|end|>"]})
    fast.chat_template = template
    fast.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "mistral", "eos_token_id": 2}))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 3]}))


def make_model(folder: Path, name: str = "tiny") -> ModelFiles:
    """Write a two-layer Mistral with random weights beside such a tokenizer."""
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    make_tokenizer(folder)
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=128,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=CONTEXT_TOKENS,
        bos_token_id=1,
        eos_token_id=2,
    )
    MistralForCausalLM(config).save_pretrained(folder)
    (folder / "generation_config.json").write_text(
        # A model's own file may ask for sampling of its own; an engine must not take it over.
        json.dumps({"eos_token_id": [2, 3], "repetition_penalty": 50.0, "do_sample": True, "top_k": 1})
    )
    return ModelFiles(name, folder, "0" * 64, CONTEXT_TOKENS, None)


@pytest.fixture(scope="session")
def smollm2() -> ModelFiles:
    """The real small model; unpacked into the cache folder by the first session on a machine."""
    try:
        model = find_model("smollm2")
    except UserError as error:
        pytest.skip(str(error))
    local_path(model)
    return model
