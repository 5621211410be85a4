"""Which model is trained: built-in names, open_clip's, and JSON files; found without open_clip or torch."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from synthclip_hpc.config.train import BUILT_IN_TRAIN_MODELS
from synthclip_hpc.errors import UserError
from synthclip_hpc.training.model_config import find_model_config

SMALL = {"embed_dim": 8, "vision_cfg": {"image_size": 32}, "text_cfg": {"context_length": 6}}


def write(path: Path, config: object) -> str:
    path.write_text(json.dumps(config), encoding="utf-8")
    return str(path)


def test_every_built_in_name_has_a_configuration_of_its_own() -> None:
    found = [find_model_config(name) for name in BUILT_IN_TRAIN_MODELS]
    assert [config.name for config in found] == list(BUILT_IN_TRAIN_MODELS)
    assert len({config.sha256 for config in found}) == 3
    assert [(config.image_size, config.context_length, config.quick_gelu) for config in found] == [
        (224, 77, True),
        (224, 77, False),
        (64, 12, False),
    ]


@pytest.mark.parametrize("module", ["synthclip_hpc.training.model", "synthclip_hpc.training.export"])
def test_looking_up_built_in_names_and_files_imports_neither_torch_nor_open_clip(module: str, tmp_path: Path) -> None:
    path = write(tmp_path / "small.json", SMALL)
    program = (
        f"import sys, {module}, synthclip_hpc.training.flops, synthclip_hpc.training.recipe\n"
        "from synthclip_hpc.training.model import find_model_config\n"
        f"print(find_model_config('resnet-tiny').name, find_model_config({path!r}).name)\n"
        "print(sorted({'torch', 'open_clip', 'timm', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.splitlines() == ["resnet-tiny small", "[]"]


def test_a_file_is_known_by_its_content_and_an_export_s_configuration_is_one_too(tmp_path: Path) -> None:
    plain = find_model_config(write(tmp_path / "small.json", SMALL))
    exported = find_model_config(write(tmp_path / "open_clip_config.json", {"model_cfg": SMALL, "preprocess_cfg": {}}))
    assert plain.name == "small"
    assert plain.config == exported.config == SMALL
    assert plain.sha256 == exported.sha256
    assert (plain.image_size, plain.context_length) == (32, 6)
    other = find_model_config(write(tmp_path / "other.json", SMALL | {"embed_dim": 16}))
    assert other.sha256 != plain.sha256


def test_what_a_file_leaves_out_is_open_clip_s_default(tmp_path: Path) -> None:
    found = find_model_config(write(tmp_path / "bare.json", SMALL | {"vision_cfg": {}, "text_cfg": {}}))
    assert (found.image_size, found.context_length, found.quick_gelu) == (224, 77, False)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (SMALL | {"embed_dim": "8"}, "embed_dim is missing or no whole number"),
        ({"embed_dim": 8, "vision_cfg": {}}, "text_cfg is missing or no object"),
        ([1], "embed_dim is missing"),
        (SMALL | {"vision_cfg": {"image_size": [32, 64]}}, "only square images"),
        (SMALL | {"vision_cfg": {"image_size": 0}}, "image_size is 0"),
        (SMALL | {"text_cfg": {"context_length": None}}, "context_length is None"),
        (SMALL | {"multimodal_cfg": {}}, "CoCa"),
        (SMALL | {"init_logit_bias": -10}, "SigLIP"),
        (SMALL | {"text_cfg": {"hf_model_name": "x"}}, "Hugging Face hub"),
    ],
)
def test_a_file_that_is_no_such_model_is_refused(config: object, told: str, tmp_path: Path) -> None:
    path = write(tmp_path / "bad.json", config)
    with pytest.raises(UserError, match=told) as caught:
        find_model_config(path)
    assert str(caught.value).startswith(f"train.model={path}: ")


def test_a_file_that_is_no_json_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    for name in ("broken.json", "bytes.json"):
        with pytest.raises(UserError, match="not JSON"):
            find_model_config(str(tmp_path / name))
    with pytest.raises(UserError, match="no such file"):
        find_model_config(str(tmp_path / "gone.json"))


def test_a_name_that_nobody_knows_names_the_nearest() -> None:
    pytest.importorskip("open_clip")
    with pytest.raises(UserError, match="did you mean 'synthclip-vit-b-16'"):
        find_model_config("synthclip-vit-b16")
    with pytest.raises(UserError, match="did you mean 'ViT-B-32'"):
        find_model_config("ViT-B32")


def test_a_name_of_open_clip_s_has_its_configuration() -> None:
    open_clip = pytest.importorskip("open_clip")
    found = find_model_config("ViT-B-16-quickgelu")
    assert found.config == open_clip.get_model_config("ViT-B-16-quickgelu")
    assert found.quick_gelu


def test_without_open_clip_its_names_are_refused_with_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'synthclip-hpc\[train\]'"):
        find_model_config("ViT-B-32")
    assert find_model_config("resnet-tiny").name == "resnet-tiny"
