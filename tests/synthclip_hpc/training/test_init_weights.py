"""Weights to start from: files, folders and tags on this machine, whatever fits, and nothing that runs code."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from synthclip_hpc.errors import UserError
from synthclip_hpc.training.model import ModelConfig, build_model, find_init, find_model_config

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")
pytestmark = pytest.mark.engines

SMALL = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 16, "head_width": 8, "layers": 1},
    "text_cfg": {"context_length": 6, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture
def small(tmp_path: Path) -> ModelConfig:
    return _config(tmp_path / "small.json", SMALL)


def _config(path: Path, value: dict[str, Any]) -> ModelConfig:
    path.write_text(json.dumps(value), encoding="utf-8")
    return find_model_config(str(path))


def _weights(model: ModelConfig, seed: int = 1) -> dict[str, Any]:
    return dict(build_model(model, seed=seed, device="cpu").state_dict())


def _save(path: Path, weights: Any) -> str:
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(weights, path)
    else:
        torch.save(weights, path)
    return str(path)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.pth", "w.bin"])
def test_all_weights_come_from_the_file(name: str, small: ModelConfig, tmp_path: Path) -> None:
    weights = _weights(small)
    given = weights if name.endswith("s") else {"state_dict": {f"module.{key}": weights[key] for key in weights}}
    init = find_init(_save(tmp_path / name, given), small)
    found = _weights_from(init, small)
    assert list(found) == list(weights)
    assert all(torch.equal(found[key], weights[key]) for key in weights)


def _weights_from(init: Any, model: ModelConfig) -> dict[str, Any]:
    return dict(build_model(model, seed=99, device="cpu", init=init).state_dict())


def test_a_folder_gives_its_weights_whatever_else_lies_there(small: ModelConfig, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    with pytest.raises(UserError, match="has 0 files of weights"):
        find_init(str(folder), small)
    _save(folder / "a.pt", _weights(small, 1))
    assert find_init(str(folder), small).path == folder / "a.pt"
    _save(folder / "b.pt", _weights(small, 2))
    with pytest.raises(UserError, match="has 2 files of weights"):
        find_init(str(folder), small)
    _save(folder / "open_clip_model.safetensors", _weights(small, 3))
    assert find_init(str(folder), small).path.name == "open_clip_model.safetensors"


def test_the_fingerprint_tells_content_and_not_the_place(small: ModelConfig, tmp_path: Path) -> None:
    one = find_init(_save(tmp_path / "one.safetensors", _weights(small, 1)), small)
    copy = find_init(_save(tmp_path / "copy.safetensors", _weights(small, 1)), small)
    other = find_init(_save(tmp_path / "other.safetensors", _weights(small, 2)), small)
    assert one.fingerprint == copy.fingerprint != other.fingerprint
    plain = [find_init(_save(tmp_path / f"{seed}.pt", _weights(small, seed)), small) for seed in (1, 2)]
    assert plain[0].fingerprint != plain[1].fingerprint


def test_another_image_size_has_its_position_embedding_resized(small: ModelConfig, tmp_path: Path) -> None:
    init = find_init(_save(tmp_path / "w.safetensors", _weights(small)), small)
    vision = SMALL["vision_cfg"]
    assert isinstance(vision, dict)
    larger = _config(tmp_path / "larger.json", SMALL | {"vision_cfg": vision | {"image_size": 64}})
    found = _weights_from(init, larger)
    assert found["visual.positional_embedding"].shape == (17, 16)
    assert torch.equal(found["token_embedding.weight"], _weights(small)["token_embedding.weight"])


def test_weights_that_do_not_fit_name_the_first_tensors(small: ModelConfig, tmp_path: Path) -> None:
    init = find_init(_save(tmp_path / "w.safetensors", _weights(small)), small)
    text = SMALL["text_cfg"]
    assert isinstance(text, dict)
    deeper = SMALL | {"embed_dim": 4, "text_cfg": text | {"vocab_size": 60, "layers": 2}}
    other = _config(tmp_path / "other.json", deeper)
    with pytest.raises(UserError, match=r"does not fit train\.model") as caught:
        _weights_from(init, other)
    message = str(caught.value)
    assert message.startswith(f"train.init={tmp_path / 'w.safetensors'}: ")
    assert 'Missing key(s) in state_dict: "transformer.resblocks.1.ln_1.weight"' in message
    assert '"transformer.resblocks.1.attn.in_proj_weight" and 9 more' in message
    assert message.count("size mismatch") == 2
    assert "size mismatch for text_projection: copying a param with shape torch.Size([16, 8])" in message
    assert "; and 1 more. Give the train.model" in message
    assert len(message) < 900
    wider = _config(tmp_path / "wider.json", SMALL | {"text_cfg": text | {"width": 32}})
    with pytest.raises(UserError, match="text pos_embed width changed"):
        _weights_from(init, wider)


def test_a_file_that_would_run_code_is_refused(small: ModelConfig, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    init = find_init(_save(tmp_path / "w.pt", {"state_dict": _weights(small), "more": Trap()}), small)
    with pytest.raises(UserError, match="holds more than tensors"):
        _weights_from(init, small)
    assert not (tmp_path / "ran").exists()


def test_a_file_that_is_no_file_of_weights_is_refused(small: ModelConfig, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    _save(path, _weights(small))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="cut short"):
        find_init(str(path), small)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match="no file of weights"):
        find_init(str(tmp_path / "notes.txt"), small)
    for name in ("gone.pt", str(tmp_path / "gone")):
        with pytest.raises(UserError, match="no such file or folder; look for the export"):
            find_init(name, small)
    (tmp_path / "empty.pt").write_bytes(b"")
    init = find_init(str(tmp_path / "empty.pt"), small)
    with pytest.raises(UserError, match="does not fit"):
        _weights_from(init, small)


def test_weights_of_another_activation_are_refused(small: ModelConfig, tmp_path: Path) -> None:
    _save(tmp_path / "open_clip_model.safetensors", _weights(small))
    config = tmp_path / "open_clip_config.json"
    config.write_text(json.dumps({"model_cfg": SMALL | {"quick_gelu": True}}))
    with pytest.raises(UserError, match=r"trained with QuickGELU, and train.model=small has GELU"):
        find_init(str(tmp_path), small)
    config.write_text(json.dumps({"model_cfg": SMALL}))
    assert find_init(str(tmp_path), small).name == str(tmp_path)


def test_a_tag_is_found_in_the_local_cache_alone(
    small: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path))
    quick = find_model_config("ViT-B-16-quickgelu")
    with pytest.raises(UserError, match=r"create_model\('ViT-B-16-quickgelu', pretrained='openai'\)"):
        find_init("openai", quick)
    repository = tmp_path / "models--timm--vit_base_patch16_clip_224.openai"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    _save(snapshot / "open_clip_model.safetensors", _weights(small))
    found = find_init("openai", quick)
    assert found.path == snapshot / "open_clip_model.safetensors"
    assert found.name == "openai"
    with pytest.raises(UserError, match="ViT-B-16-quickgelu"):
        find_init("openai", find_model_config("ViT-B-16"))


def test_a_tag_with_an_address_alone_is_found_where_open_clip_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    given = {"url": "scheme:release/weights-1234.pt", "hf_hub": "", "quick_gelu": True}
    monkeypatch.setattr("open_clip.get_pretrained_cfg", lambda *_: given)
    model = find_model_config("RN50-quickgelu")
    with pytest.raises(UserError, match="not on this machine"):
        find_init("cc12m", model)
    path = tmp_path / ".cache" / "clip" / "weights-1234.pt"
    path.parent.mkdir(parents=True)
    _save(path, {"w": torch.zeros(2)})
    assert find_init("cc12m", model).path == path


def test_an_unknown_tag_names_the_known_ones(small: ModelConfig) -> None:
    with pytest.raises(UserError, match=r"did you mean 'laion2b_s34b_b88k'.*its tags are openai"):
        find_init("laion2b_s34b_b88", find_model_config("ViT-B-16"))
    with pytest.raises(UserError, match=r"train\.model=small: it has no tags"):
        find_init("openai", small)
