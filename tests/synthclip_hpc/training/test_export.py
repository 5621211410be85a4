"""An exported model is open_clip's to load: the same embeddings, of images through its own transform too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sharding.files import checksum
from synthclip_hpc.training.export import export_open_clip
from synthclip_hpc.training.init_weights import find_init
from synthclip_hpc.training.model import ModelConfig, build_model, find_model_config
from synthclip_hpc.training.normalization import PIXEL_STATISTICS

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")
pytestmark = pytest.mark.engines

FILES = ["open_clip_config.json", "open_clip_model.safetensors"]


def export(folder: Path, model: ModelConfig, weights: dict[str, Any], interpolation: str = "bilinear") -> None:
    mean, std = PIXEL_STATISTICS["imagenet"]
    size = model.image_size
    export_open_clip(folder, model, weights, mean=mean, std=std, interpolation=interpolation, image_size=size)


def configuration(name: str, folder: Path) -> ModelConfig:
    """A built-in configuration with fewer layers; timm's small tower in place of its base one."""
    config = json.loads(json.dumps(find_model_config(name).config))
    config["text_cfg"] |= {"layers": 1, "width": 32, "heads": 2}
    vision = config["vision_cfg"]
    if "timm_model_name" in vision:
        vision["timm_model_name"] = "vit_tiny_patch16_224"
    elif isinstance(vision["layers"], int):
        vision["layers"] = 1
    path = folder / f"{name}.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return find_model_config(str(path))


def picture(width: int, height: int) -> Any:
    from PIL import Image

    generator = torch.Generator().manual_seed(width)
    pixels = torch.randint(0, 256, (height // 10, width // 10, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy()).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("name", ["synthclip-vit-b-16", "synthclip-vit-s-16", "resnet-tiny"])
def test_open_clip_loads_the_folder_and_gives_the_same_embeddings(name: str, tmp_path: Path) -> None:
    from torchvision.transforms import functional

    model = configuration(name, tmp_path)
    built = build_model(model, seed=4, device="cpu")
    images, tokens = torch.randn(4, 3, *[model.image_size] * 2), torch.randint(1, 49408, (4, model.context_length))
    built(images, tokens)  # in training mode: statistics of batch norm move
    built.eval()
    with torch.no_grad():
        built.logit_scale.fill_(3.5)
    export(tmp_path / "export", model, built.state_dict())
    assert sorted(path.name for path in (tmp_path / "export").iterdir()) == FILES

    loaded, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'export'}")
    loaded.eval()
    size = model.image_size
    taken = picture(2 * size + 40, 2 * size)
    mean, std = PIXEL_STATISTICS["imagenet"]
    # The paper's evaluation transform, step by step.
    resized = functional.resize(taken, [size], functional.InterpolationMode.BILINEAR)
    expected = functional.normalize(functional.to_tensor(functional.center_crop(resized, [size])), mean, std)
    torch.testing.assert_close(preprocess(taken), expected, atol=1e-6, rtol=0)
    images[0] = expected
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'export'}")
    tokens[0] = tokenizer("a red cupcake")[0]
    assert tokenizer.context_length == model.context_length
    with torch.no_grad():
        ours, theirs = built(images, tokens), loaded(images, tokens)
    for left, right in zip(ours, theirs, strict=True):
        torch.testing.assert_close(left, right, atol=1e-6, rtol=0)
    assert len({round(value, 4) for value in ours[0].flatten().tolist()}) > 100  # no trivial embedding
    init = find_init(str(tmp_path / "export"), model)
    again = build_model(model, seed=5, device="cpu", init=init).state_dict()
    assert all(torch.equal(again[key], value) for key, value in built.state_dict().items())


def test_equal_weights_are_equal_bytes_whatever_their_order_and_layout(tmp_path: Path) -> None:
    model = find_model_config("resnet-tiny")
    weights = dict(build_model(model, seed=4, device="cpu").state_dict())
    export(tmp_path / "one", model, weights)
    turned = {
        key: weights[key].to(memory_format=torch.channels_last) if weights[key].ndim == 4 else weights[key]
        for key in reversed(weights)
    }
    assert any(not value.is_contiguous() for value in turned.values())
    export(tmp_path / "two", model, turned)
    export(tmp_path / "one", model, weights)  # again, over the files that are there
    for name in FILES:
        assert checksum(tmp_path / "one" / name) == checksum(tmp_path / "two" / name)
    export(tmp_path / "other", model, weights | {"logit_scale": torch.tensor(1.0)})
    assert checksum(tmp_path / "one" / FILES[1]) != checksum(tmp_path / "other" / FILES[1])


def test_tensors_that_share_memory_are_each_written(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    model = find_model_config("resnet-tiny")
    tied = torch.arange(6.0).reshape(2, 3)
    export(tmp_path, model, {"a": tied, "b": tied, "c": tied.T, "d": tied[1]})
    found = load_file(tmp_path / FILES[1])
    assert {key: value.tolist() for key, value in found.items()} == {
        "a": [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]],
        "b": [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]],
        "c": [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]],
        "d": [3.0, 4.0, 5.0],
    }


def test_the_configuration_says_how_images_are_prepared(tmp_path: Path) -> None:
    model = find_model_config("resnet-tiny")
    export(tmp_path, model, {"a": torch.zeros(1)}, interpolation="bicubic")
    assert json.loads((tmp_path / FILES[0]).read_text()) == {
        "model_cfg": model.config,
        "preprocess_cfg": {
            "size": 64,
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }


def test_another_image_size_and_a_wrapper_s_names_are_refused(tmp_path: Path) -> None:
    model = find_model_config("resnet-tiny")
    settings: dict[str, Any] = {"mean": [0.0] * 3, "std": [1.0] * 3, "interpolation": "bilinear"}
    with pytest.raises(ValueError, match="96 px"):
        export_open_clip(tmp_path, model, {"a": torch.zeros(1)}, image_size=96, **settings)
    for name in ("module.a", "_orig_mod.a"):
        with pytest.raises(ValueError, match="bare model"):
            export_open_clip(tmp_path, model, {name: torch.zeros(1)}, image_size=64, **settings)
    assert list(tmp_path.iterdir()) == []
