"""Writes Stable Diffusion pipelines with random weights: the real classes of diffusers, nothing fetched.

`tiny` is 64 x 64 pixels and 5 MB, for tests; `sd15` has the shape of Stable Diffusion v1.5 (860 million parameters in
the UNet), for measuring what a GPU makes of it. `python -m tests.engines.tiny_stable_diffusion FOLDER [SHAPE]`.
"""

from __future__ import annotations

import json
import string
import sys
import tempfile
from pathlib import Path
from typing import Any

SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "unet": {
            "sample_size": 8,
            "block_out_channels": (32, 64),
            "layers_per_block": 1,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "attention_head_dim": 8,
        },
        "vae": {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1},
        "text": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 256,
        },
    },
    "sd15": {
        "unet": {
            "sample_size": 64,
            "block_out_channels": (320, 640, 1280, 1280),
            "layers_per_block": 2,
            "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
            "attention_head_dim": 8,
        },
        "vae": {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2},
        "text": {
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "vocab_size": 49_408,
        },
    },
}
NATIVE_SIZE = {"tiny": 64, "sd15": 512}
MAX_TOKENS = 77
"""Of a prompt, begin and end included: CLIP's."""
_LETTERS = string.ascii_lowercase + string.digits + string.punctuation
_TOKENS = [*_LETTERS, *(f"{letter}</w>" for letter in _LETTERS), "<|startoftext|>", "<|endoftext|>"]
_NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
_NO_SAFETY = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


def build(folder: Path, shape: str = "tiny", dtype: str = "float32", device: str = "cpu", seed: int = 0) -> Path:
    """Write a Stable Diffusion pipeline; the same weights for the same seed. Returns the folder."""
    import torch
    from diffusers import PNDMScheduler, StableDiffusionPipeline

    sizes = SHAPES[shape]
    torch.manual_seed(seed)
    with torch.device(device):
        parts = _parts(sizes, cross_attention_dim=sizes["text"]["hidden_size"])
    # As v1.5 has it.
    scheduler = PNDMScheduler(**_NOISE, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1)
    if dtype != "float32":
        for part in parts.values():
            part.to(getattr(torch, dtype))
    StableDiffusionPipeline(**parts, **_NO_SAFETY, tokenizer=make_tokenizer(), scheduler=scheduler).save_pretrained(
        folder
    )
    return folder


def build_xl(folder: Path) -> Path:
    """Write a tiny SDXL pipeline: two text encoders, of which the second one gives a pooled embedding too."""
    import torch
    from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionXLPipeline
    from transformers import CLIPTextModelWithProjection

    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    StableDiffusionXLPipeline(
        **_parts(
            SHAPES["tiny"],
            cross_attention_dim=64,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 32,
        ),
        text_encoder_2=CLIPTextModelWithProjection(_text_config(SHAPES["tiny"])),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        scheduler=EulerAncestralDiscreteScheduler(timestep_spacing="trailing"),
        add_watermarker=False,
    ).save_pretrained(folder)
    return folder


def build_lcm(folder: Path) -> Path:
    """Write a tiny latent consistency pipeline: guidance is an input of its UNet."""
    import torch
    from diffusers import LatentConsistencyModelPipeline, LCMScheduler

    torch.manual_seed(0)
    LatentConsistencyModelPipeline(
        **_parts(SHAPES["tiny"], cross_attention_dim=32, time_cond_proj_dim=32),
        **_NO_SAFETY,
        tokenizer=make_tokenizer(),
        scheduler=LCMScheduler(**_NOISE),
    ).save_pretrained(folder)
    return folder


def _parts(sizes: dict[str, Any], **unet: Any) -> dict[str, Any]:
    """Return UNet, VAE and text encoder."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    return {
        "unet": UNet2DConditionModel(**sizes["unet"], **unet),
        "vae": AutoencoderKL(
            **sizes["vae"],
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
        ),
        "text_encoder": CLIPTextModel(_text_config(sizes)),
    }


def _text_config(sizes: dict[str, Any]) -> Any:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        **sizes["text"],
        projection_dim=32,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=len(_TOKENS) - 2,
        eos_token_id=len(_TOKENS) - 1,
    )


def make_tokenizer() -> Any:
    """Return a CLIP tokenizer of single characters: no merges, so a word has as many tokens as letters."""
    from transformers import CLIPTokenizer

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "vocab.json").write_text(json.dumps({token: place for place, token in enumerate(_TOKENS)}))
        (folder / "merges.txt").write_text("#version: 0.2\n")
        return CLIPTokenizer.from_pretrained(folder, model_max_length=MAX_TOKENS)


if __name__ == "__main__":
    print(build(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "tiny"))
