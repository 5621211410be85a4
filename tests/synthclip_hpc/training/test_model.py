"""Building the model: the same weights wherever it is built, and what open_clip cannot build is told."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from synthclip_hpc.errors import UserError
from synthclip_hpc.training.model import ModelConfig, build_model, find_model_config

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")
pytestmark = pytest.mark.engines

TEXT = {"context_length": 8, "width": 32, "heads": 2, "layers": 2}
IMAGES = {"image_size": 32, "patch_size": 16, "width": 32, "head_width": 16, "layers": 2}
VIT = {"embed_dim": 16, "vision_cfg": IMAGES, "text_cfg": TEXT}


def config(folder: Path, value: dict[str, Any]) -> ModelConfig:
    path = folder / "small.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    return find_model_config(str(path))


def batch(model: ModelConfig, count: int = 3) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(count, 3, model.image_size, model.image_size, generator=generator)
    return images, torch.randint(1, 49408, (count, model.context_length), generator=generator)


def test_weights_follow_from_the_seed_alone_and_no_generator_moves() -> None:
    tiny = find_model_config("resnet-tiny")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = build_model(tiny, seed=7, device="cpu").state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    same = build_model(tiny, seed=7, device="cpu").state_dict()
    other = build_model(tiny, seed=8, device="cpu").state_dict()
    assert list(one) == list(same)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["token_embedding.weight"], other["token_embedding.weight"])


def test_the_default_device_does_not_count() -> None:
    tiny = find_model_config("resnet-tiny")
    with torch.device("meta"):
        built = build_model(tiny, seed=7, device="cpu")
    assert {parameter.device.type for parameter in built.parameters()} == {"cpu"}


def test_the_model_for_cpus_is_small_and_returns_features_and_scale() -> None:
    tiny = find_model_config("resnet-tiny")
    built = build_model(tiny, seed=0, device="cpu")
    counts = {name: parameter.numel() for name, parameter in built.named_parameters()}
    assert sum(counts.values()) == 4_583_385
    assert counts["token_embedding.weight"] == 49408 * 64
    assert type(built.visual).__name__ == "ModifiedResNet"
    assert built.training
    assert {parameter.dtype for parameter in built.parameters()} == {torch.float32}
    images, texts, scale = built(*batch(tiny))
    assert images.shape == texts.shape == (3, 128)
    torch.testing.assert_close(images.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(3))
    assert scale.item() == pytest.approx(1 / 0.07)
    assert built.logit_scale.item() == pytest.approx(math.log(1 / 0.07))


def test_a_smaller_tower_than_the_paper_s_has_twelve_heads_and_no_norm_before_the_blocks(tmp_path: Path) -> None:
    small = find_model_config("synthclip-vit-s-16")
    shallow = json.loads(json.dumps(small.config))  # two blocks a tower: the others are like them
    shallow["vision_cfg"]["layers"] = shallow["text_cfg"]["layers"] = 2
    built = build_model(config(tmp_path, shallow), seed=0, device="cpu")
    visual = built.visual
    assert [block.attn.num_heads for block in visual.transformer.resblocks] == [12, 12]
    assert [block.attn.embed_dim for block in visual.transformer.resblocks] == [384, 384]
    assert isinstance(visual.ln_pre, torch.nn.Identity)
    assert visual.ln_post.eps == visual.transformer.resblocks[0].ln_1.eps == 1e-6
    assert visual.positional_embedding.shape == (197, 384)
    assert visual.proj.shape == (384, 512)
    kinds = {type(module).__name__ for module in built.modules() if "GELU" in type(module).__name__}
    assert kinds == {"GELU"}
    assert small.config["vision_cfg"]["layers"] == small.config["text_cfg"]["layers"] == 12


@pytest.mark.parametrize("custom_text", [False, True])
def test_recomputed_activations_change_no_gradient(custom_text: bool, tmp_path: Path) -> None:
    model = config(tmp_path, VIT | {"custom_text": custom_text})
    gradients = []
    for again in (False, True):
        built = build_model(model, seed=3, device="cpu", checkpoint_activations=again)
        images, texts, scale = built(*batch(model))
        (scale * images @ texts.T).logsumexp(1).sum().backward()
        gradients.append({name: parameter.grad for name, parameter in built.named_parameters()})
    assert hasattr(built, "text") == custom_text
    plain, recomputed = gradients
    assert all(torch.equal(plain[name], recomputed[name]) for name in plain)


def test_building_leaves_the_configuration_as_it_is(tmp_path: Path) -> None:
    model = config(tmp_path, VIT | {"custom_text": True})
    before = json.dumps(model.config)
    build_model(model, seed=3, device="cpu")
    assert json.dumps(model.config) == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"vision_cfg": {"image_sise": 32}}, "image_sise"),
        ({"vision_cfg": {"timm_model_name": "vit_nobody"}}, "vit_nobody"),
        ({"text_cfg": TEXT | {"heads": 3}}, "cannot build"),
        (
            {"vision_cfg": {"timm_model_name": "vit_tiny_patch16_224", "timm_pool": "token", "image_size": 128}},
            "image_size is 128, and timm's vit_tiny_patch16_224 takes 224 alone",
        ),
    ],
)
def test_what_cannot_be_built_is_the_user_s_to_mend(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=told):
        build_model(config(tmp_path, VIT | change), seed=0, device="cpu")
