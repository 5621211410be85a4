"""A language model's folder: checked for all that an engine opens, and fingerprinted: cheaply, and without torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from synthclip_hpc.errors import UserError
from synthclip_hpc.models.fingerprint import fingerprint_files
from synthclip_hpc.models.safetensors_file import is_whole

# Besides the weights: every file that can change what an engine makes of a prompt.
_SMALL_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "chat_template.jinja",
)
_TOKENIZERS = (("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"), ("vocab.txt",))
# In the order in which transformers looks for them: one file, or an index of several.
_WEIGHTS = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
_CONTEXT_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_sequence_length",
    "max_seq_len",
    "seq_length",
    "n_ctx",
    "model_max_length",
)
_UNSTATED_CONTEXT = 2048
"""Tokens taken for granted when config.json states no length (some leave theirs to a default of their class): several
times what a caption's prompt and answer need, and no more than such models have."""


@dataclass(frozen=True)
class ModelFiles:
    """A language model on this machine."""

    name: str
    """For the `model` column: the hub id, or the folder's name."""
    path: Path
    """Folder that `from_pretrained` opens. Open what `local_path` returns: `smollm2` may not have been made yet."""
    fingerprint: str
    """sha256 over the files that matter, wherever the folder lies; see `fingerprint_files`."""
    max_tokens: int
    """Context length of the model: prompt and answer together, in tokens."""
    revision: str | None
    """Commit hash of a hub snapshot."""

    def provenance(self) -> dict[str, Any]:
        """Return what a marker tells of the model that wrote its captions."""
        return {"name": self.name, "path": str(self.path), "revision": self.revision, "fingerprint": self.fingerprint}


def describe_folder(name: str, folder: Path, revision: str | None = None) -> ModelFiles:
    """Check that `folder` has configuration, whole weights, tokenizer and chat template, and fingerprint it.

    Raises UserError for whatever is missing or cut short.
    """
    files = _Folder(name, folder)
    files.refuse_adapter()
    config = files.read_json("config.json")
    weights = files.weights()
    files.check_tokenizer()
    whole = [one for one in _SMALL_FILES if files.has(one)] + [one for one in weights if one.endswith(".json")]
    sampled = [one for one in weights if not one.endswith(".json")]
    return ModelFiles(name, folder, fingerprint_files(folder, whole, sampled), _context_length(config), revision)


def weight_files(model: ModelFiles) -> list[str]:
    """Return the names of the files whose weights the fingerprint is of, indexes left out. Raises UserError."""
    return [one for one in _Folder(model.name, model.path).weights() if not one.endswith(".json")]


def _context_length(config: dict[str, Any]) -> int:
    """Return the context length; models for pictures as well keep it with the rest of their language model."""
    for part in (config, config.get("text_config")):
        if isinstance(part, dict):
            lengths = [part[key] for key in _CONTEXT_KEYS if isinstance(part.get(key), int) and part[key] > 0]
            if lengths:
                return min(lengths)
    return _UNSTATED_CONTEXT


@dataclass(frozen=True)
class _Folder:
    """A model's folder under examination; whatever is wrong raises UserError."""

    name: str
    path: Path

    def refuse(self, reason: str) -> NoReturn:
        raise UserError(f"captions.model={self.name}: {self.path} {reason}")

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def read_json(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads((self.path / name).read_bytes())
        except FileNotFoundError:
            self.refuse(f"has no {name}; give a folder that save_pretrained wrote, or a hub id")
        except (OSError, ValueError) as error:
            self.refuse(f"has a {name} that cannot be read ({error}); fetch or copy it again")
        if not isinstance(found, dict):
            self.refuse(f"has a {name} that is no JSON object; fetch or copy it again")
        return found

    def refuse_adapter(self) -> None:
        # With the package peft installed, transformers would put it on top of the weights; vLLM would not.
        if self.has("adapter_config.json"):
            self.refuse(
                "has an adapter_config.json: a LoRA adapter, or a model with one beside it; merge it into its model "
                "(peft: merge_and_unload, then save_pretrained into a new folder) and give that folder"
            )

    def weights(self) -> list[str]:
        """Return the names of the files that make up the weights, an index included."""
        for single, index in _WEIGHTS:
            if self.has(single):
                found = [single]
            elif self.has(index):
                found = [index, *self.shards(index)]
            else:
                continue
            for name in found:
                if name.endswith(".safetensors") and not is_whole(self.path / name):
                    self.refuse(f"has a {name} that is cut short or no safetensors file; fetch or copy it again")
            return found
        self.refuse("has no weights (model.safetensors, or shards with an index; or pytorch_model.bin); fetch them")

    def shards(self, index: str) -> list[str]:
        placed = self.read_json(index).get("weight_map")
        if not isinstance(placed, dict) or not placed:
            self.refuse(f"has an {index} without a weight_map; fetch or copy it again")
        shards = sorted(set(map(str, placed.values())))
        missing = [name for name in shards if not self.has(name)]
        if missing:
            self.refuse(
                f"lacks {len(missing)} of the {len(shards)} weight files that {index} names, "
                f"the first is {missing[0]}; fetch or copy them"
            )
        return shards

    def check_tokenizer(self) -> None:
        if not any(all(map(self.has, names)) for names in _TOKENIZERS):
            self.refuse("has no tokenizer (tokenizer.json, tokenizer.model or vocabulary files); fetch or copy it")
        # A chat_template.json does not count: it is read with image processors, never with a tokenizer.
        if self.has("chat_template.jinja"):
            return
        settings = self.read_json("tokenizer_config.json") if self.has("tokenizer_config.json") else {}
        template = settings.get("chat_template")
        if isinstance(template, list):  # several by name: without a name the default one is taken
            template = [one for one in template if isinstance(one, dict) and one.get("name") == "default"]
        if not template:
            self.refuse(
                "has no chat template (chat_template in tokenizer_config.json, or chat_template.jinja), so it is a "
                "base model; take its instruct or chat version"
            )
