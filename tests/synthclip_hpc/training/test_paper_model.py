"""The paper's model at full size: its parameters, how they are drawn, which are decayed, its work, and its export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from synthclip_hpc.training.export import export_open_clip
from synthclip_hpc.training.flops import forward_flops
from synthclip_hpc.training.model import build_model, find_model_config
from synthclip_hpc.training.recipe import param_groups

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")
pytestmark = pytest.mark.engines

PAPER = find_model_config("synthclip-vit-b-16")


@pytest.fixture(scope="module")
def built() -> Any:
    return build_model(PAPER, seed=0, device="cpu").eval()


def test_shapes_and_activations_are_the_paper_s(built: Any) -> None:
    trunk = built.visual.trunk
    shapes = {name: tuple(parameter.shape) for name, parameter in built.named_parameters()}
    assert sum(parameter.numel() for parameter in built.parameters()) == 149_619_969
    assert shapes["visual.trunk.cls_token"] == (1, 1, 768)
    assert shapes["visual.trunk.pos_embed"] == (1, 197, 768)
    assert shapes["visual.trunk.patch_embed.proj.weight"] == (768, 3, 16, 16)
    assert shapes["visual.head.proj.weight"] == (512, 768)
    assert shapes["positional_embedding"] == (77, 512)
    assert shapes["token_embedding.weight"] == (49408, 512)
    assert shapes["text_projection"] == (512, 512)
    assert not [name for name in shapes if name.startswith(("visual.head.proj.bias", "visual.trunk.head"))]
    assert (trunk.global_pool, trunk.num_classes) == ("token", 0)
    assert [block.attn.num_heads for block in trunk.blocks] == [12] * 12
    assert [block.attn.num_heads for block in built.transformer.resblocks] == [8] * 12
    assert {type(block.mlp.act) for block in trunk.blocks} == {torch.nn.GELU}
    assert {block.mlp.act.approximate for block in trunk.blocks} == {"none"}
    assert {type(block.mlp.gelu).__name__ for block in built.transformer.resblocks} == {"QuickGELU"}
    assert built.attn_mask.shape == (77, 77)


@pytest.mark.parametrize(
    ("name", "std"),
    [
        ("token_embedding.weight", 0.02),
        ("positional_embedding", 0.01),
        ("transformer.resblocks.3.attn.in_proj_weight", 512**-0.5),
        ("transformer.resblocks.3.attn.out_proj.weight", 512**-0.5 * 24**-0.5),
        ("transformer.resblocks.3.mlp.c_fc.weight", 1024**-0.5),
        ("transformer.resblocks.3.mlp.c_proj.weight", 512**-0.5 * 24**-0.5),
        ("text_projection", 512**-0.5),
        ("visual.head.proj.weight", 768**-0.5),
        ("visual.trunk.pos_embed", 0.02),
        ("visual.trunk.blocks.3.attn.qkv.weight", 0.02),
        ("visual.trunk.blocks.3.mlp.fc2.weight", 0.02),
        ("visual.trunk.cls_token", 1e-6),
    ],
)
def test_weights_are_drawn_as_documented(name: str, std: float, built: Any) -> None:
    values = dict(built.named_parameters())[name].detach()
    assert float(values.std()) == pytest.approx(std, rel=0.1 if values.numel() < 1000 else 0.02)
    assert abs(float(values.mean())) < 0.15 * std


def test_embeddings_and_projections_are_decayed_and_norms_are_not(built: Any) -> None:
    names = {id(parameter): name for name, parameter in built.named_parameters()}
    decayed, others = [[names[id(one)] for one in group["params"]] for group in param_groups(built, 0.5)]
    per_block = {"attn.qkv.weight", "attn.proj.weight", "mlp.fc1.weight", "mlp.fc2.weight"}
    per_text_block = {"attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight"}
    assert set(decayed) == {
        "visual.trunk.cls_token",
        "visual.trunk.pos_embed",
        "visual.trunk.patch_embed.proj.weight",
        "visual.head.proj.weight",
        "positional_embedding",
        "text_projection",
        "token_embedding.weight",
        *(f"visual.trunk.blocks.{number}.{part}" for number in range(12) for part in per_block),
        *(f"transformer.resblocks.{number}.{part}" for number in range(12) for part in per_text_block),
    }
    assert len(decayed) + len(others) == len(names)
    assert "logit_scale" in others
    assert "visual.trunk.blocks.0.norm1.weight" in others


def test_its_work_is_that_computed_by_hand(built: Any) -> None:
    image = 2 * 196 * 768 * 768 + 12 * (24 * 768**2 * 197 + 4 * 197**2 * 768) + 2 * 768 * 512
    text = 12 * (24 * 512**2 * 77 + 4 * 77**2 * 512) + 2 * 512 * 512
    assert forward_flops(built, image_size=224, context_length=77) == image + text == 41_086_447_616


def test_open_clip_loads_it_with_the_same_embeddings(built: Any, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bilinear", "image_size": 224}
    export_open_clip(tmp_path, PAPER, built.state_dict(), **settings)
    loaded = open_clip.create_model(f"local-dir:{tmp_path}").eval()
    images, tokens = torch.randn(2, 3, 224, 224), torch.randint(1, 49408, (2, 77))
    with torch.no_grad():
        for ours, theirs in zip(built(images, tokens), loaded(images, tokens), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
