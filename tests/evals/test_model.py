"""Opening models: all ways give the same model, and what cannot be opened is refused in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evals.errors import EvalError
from evals.layers import encode_images
from evals.model import open_model
from evals.model_source import ModelSource
from evals.tokenizer import open_tokenizer, tokenizer_identity
from tests.evals import small_world

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")
pytestmark = pytest.mark.engines

TIMM_CONFIG = small_world.CONFIG | {
    "custom_text": True,
    "vision_cfg": {
        "timm_model_name": "vit_tiny_patch16_224",
        "timm_pool": "",
        "timm_proj": "linear",
        "image_size": 224,
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_world.write_model(tmp_path_factory.mktemp("model") / "export")


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "open_clip_model.safetensors")


def test_every_way_to_open_a_model_gives_the_same_one(folder: Path, tmp_path: Path) -> None:
    known = open_clip.list_models()
    opened = [open_model(str(folder)), open_model(f"local-dir:{folder}")]
    checkpoint = {
        "epoch": 3,
        "name": "x",
        "state_dict": {f"module.{name}": one for name, one in weights(folder).items()},
    }
    torch.save(checkpoint, tmp_path / "epoch_3.pt")
    torch.save(weights(folder), tmp_path / "bare.bin")
    config = folder / "open_clip_config.json"
    for file in (tmp_path / "epoch_3.pt", tmp_path / "bare.bin", folder / "open_clip_model.safetensors"):
        opened.append(open_model(str(config), str(file)))
    assert len({model.sha256 for model in opened}) == 1
    images = torch.randn(2, 3, 32, 32)
    expected = opened[0].module.encode_image(images)
    for model in opened:
        assert not model.module.training and torch.equal(model.module.encode_image(images), expected)
        assert model.preprocess_config["mean"] == [0.5, 0.4, 0.3] and model.preprocess_config["size"] == 32
        assert model.tokenize(["a red disc"]).shape == (1, 12)
    assert open_clip.list_models() == known


def test_other_weights_and_another_configuration_have_other_hashes(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    changed = weights(folder)
    changed["logit_scale"] = changed["logit_scale"] + 1e-3
    save_file(changed, tmp_path / "changed.safetensors")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["head_width"] = 64  # fits the same weights
    (tmp_path / "other.json").write_text(json.dumps(config))
    hashes = {
        open_model(str(folder)).sha256,
        open_model(str(folder / "open_clip_config.json"), str(tmp_path / "changed.safetensors")).sha256,
        open_model(str(tmp_path / "other.json"), str(folder / "open_clip_model.safetensors")).sha256,
    }
    assert len(hashes) == 3


def test_another_preprocessing_is_another_model_with_the_same_weights(folder: Path, tmp_path: Path) -> None:
    safe = str(folder / "open_clip_model.safetensors")
    config = json.loads((folder / "open_clip_config.json").read_text())
    found = []
    changes: list[dict[str, Any]] = [{}, {"mean": [0, 0, 0]}, {"interpolation": "bicubic"}, {"resize_mode": "squash"}]
    for number, change in enumerate(changes):
        changed = {**config, "preprocess_cfg": {**config["preprocess_cfg"], **change}}
        (tmp_path / f"{number}.json").write_text(json.dumps(changed))
        found.append(open_model(str(tmp_path / f"{number}.json"), safe))
    assert len({model.sha256 for model in found}) == 1
    assert all(one.identity != other.identity for one in found for other in found if one is not other)
    assert found[0].identity == open_model(str(folder)).identity
    (tmp_path / "bare.json").write_text(json.dumps(config["model_cfg"]))  # open_clip's own defaults
    bare = open_model(str(tmp_path / "bare.json"), safe).identity
    assert bare == json.loads(json.dumps(bare)) and bare["preprocess"]["resize_mode"] == "shortest"


def write_tokenizer(folder: Path, words: str) -> ModelSource:
    """Write a tokenizer of words of one letter, numbered in their order, as a model's folder has it."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(WordLevel({word: number for number, word in enumerate(["[PAD]", *words])}, unk_token="[PAD]"))
    made.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[PAD]").save_pretrained(folder)
    config = {"text_cfg": {"context_length": 4, "hf_tokenizer_name": "some/name"}}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    return ModelSource(config, {}, folder / "none", f"local-dir:{folder}")


def test_a_tokenizer_is_known_by_what_it_does_and_not_by_its_place_or_name(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    sources = [write_tokenizer(tmp_path / str(number), words) for number, words in enumerate(["ab", "ab", "ba"])]
    one, same, other = (open_tokenizer(source, "x") for source in sources)
    assert tokenizer_identity(one) == tokenizer_identity(same) != tokenizer_identity(other)
    assert one(["a b"]).tolist() == [[1, 2, 0, 0]] and other(["a b"]).tolist() == [[2, 1, 0, 0]]
    own = [
        open_tokenizer(ModelSource({"text_cfg": text}, {}, tmp_path, None), "x")
        for text in ({}, {"context_length": 12}, {"tokenizer_kwargs": {"clean": "canonicalize"}}, {})
    ]
    found = [tokenizer_identity(one) for one in own]
    assert found[0] == found[3] and len(set(found)) == 3 and all(one.startswith("SimpleTokenizer ") for one in found)


@pytest.mark.parametrize(
    ("model", "pretrained", "message"),
    [
        ("", "x.pt", "model=: empty"),
        ("ViT-B-61", "", r"model=ViT-B-61 \(did you mean 'ViT-B-16'\?\)"),
        ("ViT-B-16", "", "without weights there is nothing to measure"),
        ("ViT-B-16", "opneai", r"pretrained=opneai \(did you mean 'openai'\?\).*no tag of ViT-B-16"),
        ("ViT-B-32", "openai", "give model=ViT-B-32-quickgelu"),
        ("ViT-B-32", "laion2b_s34b_b79k", "not on this machine; fetch them"),
        ("local-dir:/nowhere", "", "there is no such folder"),
        ("runs/demo/train/exprot", "", "model=runs/demo/train/exprot: there is no such folder"),
        ("ViT-B/16", "", r"model=ViT-B/16 \(did you mean 'ViT-B-16'\?\)"),
        ("{folder}/open_clip_model.safetensors", "", "a file; give its configuration as model=FILE.json"),
        ("nowhere.json", "", "there is no such file"),
        ("{folder}", "some.pt", "brings its own weights; leave pretrained out"),
        ("{folder}/open_clip_config.json", "{folder}/none.pt", "there is no such file"),
        (
            "{folder}/open_clip_config.json",
            "{folder}/open_clip_config.json",
            "valid are files that end in .safetensors",
        ),
        (
            "ViT-B-32",
            "{folder}/open_clip_model.safetensors",
            "open_clip cannot load .*(Missing key|size mismatch|changed|Error)",
        ),
    ],
)
def test_what_cannot_be_opened_is_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, pretrained: str, message: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EvalError, match=message):
        open_model(model.format(folder=folder), pretrained.format(folder=folder))


def test_a_checkpoint_that_is_being_written_is_refused(folder: Path, tmp_path: Path) -> None:
    config = str(folder / "open_clip_config.json")
    torch.save(weights(folder), tmp_path / "whole.pt")
    for path in (tmp_path / "whole.pt", folder / "open_clip_model.safetensors"):
        half = tmp_path / f"half{path.suffix}"
        half.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(EvalError, match=r"still being written|cut off"):
            open_model(config, str(half))
    (tmp_path / "cut.json").write_bytes((folder / "open_clip_config.json").read_bytes()[:50])
    with pytest.raises(EvalError, match=r"is no JSON .*may still be being written"):
        open_model(str(tmp_path / "cut.json"), str(tmp_path / "whole.pt"))


def test_code_in_a_checkpoint_is_not_run(folder: Path, tmp_path: Path) -> None:
    import pickle

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "run",)

    (tmp_path / "trap.pt").write_bytes(pickle.dumps({"state_dict": Trap()}))
    with pytest.raises(EvalError, match=r"trap\.pt"):
        open_model(str(folder / "open_clip_config.json"), str(tmp_path / "trap.pt"))
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there_is_told(folder: Path) -> None:
    for device, message in [("gpu", "valid are auto, cpu"), (f"cuda:{torch.cuda.device_count()}", "torch sees")]:
        with pytest.raises(EvalError, match=message):
            open_model(str(folder), device=device)


@pytest.mark.parametrize(
    "config", [small_world.CONFIG, small_world.VIT_CONFIG, TIMM_CONFIG], ids=["resnet", "vit", "timm"]
)
def test_pre_is_what_the_projection_turns_into_post(config: dict[str, Any], tmp_path: Path) -> None:
    from safetensors.torch import save_file

    config = json.loads(json.dumps(config))
    kind = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
    module = kind(**config).eval()
    size = config["vision_cfg"]["image_size"]
    images = torch.randn(3, 3, size, size)
    with torch.no_grad():
        if config["vision_cfg"].get("layers") == [1, 1, 1, 1]:
            small_world.stir(module)
        expected = module.encode_image(images)
        found = encode_images(module, images, ("pre", "post"))
        visual = module.visual
        if hasattr(visual, "attnpool"):
            assert found["pre"].shape == (3, 256)
            again = visual.attnpool.c_proj(found["pre"])
        elif hasattr(visual, "trunk"):
            assert found["pre"].shape == (3, 192)
            again = visual.head.proj(found["pre"])
        else:
            assert found["pre"].shape == (3, 48)
            again = found["pre"] @ visual.proj
        after = module.encode_image(images)
    assert torch.equal(found["post"], expected) and torch.equal(after, expected)
    torch.testing.assert_close(again, expected, atol=1e-5, rtol=1e-5)
    assert list(encode_images(module, images, ("post",))) == ["post"]
    save_file({"x": found["pre"].contiguous()}, tmp_path / "no-gradient.safetensors")


def test_a_tower_without_a_projection_has_no_pre() -> None:
    config = json.loads(json.dumps(small_world.CONFIG)) | {
        "embed_dim": 192, "vision_cfg": {**TIMM_CONFIG["vision_cfg"], "timm_proj": "none", "timm_pool": "token"},
    }  # fmt: skip
    module = open_clip.CustomTextCLIP(**config).eval()
    with pytest.raises(EvalError, match="has no projection behind it; give layer=post"), torch.no_grad():
        encode_images(module, torch.randn(1, 3, 224, 224), ("pre",))
