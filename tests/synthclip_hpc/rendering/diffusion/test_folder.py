"""Finding a pipeline: what is opened, what is refused, what its fingerprint and identity depend on."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from synthclip_hpc.config.render import DiffusionConfig, RenderConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.rendering.diffusion.folder import PipelineFiles, find_pipeline
from synthclip_hpc.rendering.diffusion.identity import facts_of, identity_of
from synthclip_hpc.rendering.diffusion.recipe import settled

pytestmark = pytest.mark.engines
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def copy(pipelines, tmp_path) -> Path:
    return Path(shutil.copytree(pipelines["tiny"], tmp_path / "m"))


@pytest.fixture
def hub_cache(tmp_path, monkeypatch) -> Path:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def found(model: object, **more: Any) -> PipelineFiles:
    own = DiffusionConfig(model=str(model), **more)
    return find_pipeline(settled(RenderConfig(preset="sd15", device="cpu", diffusion=own)))


def refusal(model: object, **more: Any) -> str:
    with pytest.raises(UserError) as caught:
        found(model, **more)
    return str(caught.value)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_all_that_is_opened_is_found(copy):
    files = found(copy)
    assert (files.name, files.path, files.revision, files.variant) == ("m", copy, None, None)
    assert (files.pipeline, files.scheduler) == ("StableDiffusionPipeline", "PNDMScheduler")
    assert set(files.parts) == {"scheduler", "text_encoder", "tokenizer", "unet", "vae"}
    assert set(files.weights) == {
        "text_encoder/model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    }
    assert len(files.whole) == 7 and all((copy / name).is_file() for name in files.whole)


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("model_index.json", "has no model_index.json, so it is no pipeline"),
        ("unet/diffusion_pytorch_model.safetensors", "has no weights in unet"),
        ("vae/config.json", "has no configuration in vae"),
        ("tokenizer/tokenizer.json", "has no vocabulary in tokenizer"),
        ("scheduler/scheduler_config.json", "has no configuration in scheduler"),
    ],
)
def test_each_missing_file_is_a_message_of_its_own(copy, missing, told):
    (copy / missing).unlink()
    assert refusal(copy).startswith(f"render.diffusion.model=m: {copy} {told}")


def test_a_missing_part_is_named(copy):
    shutil.rmtree(copy / "vae")
    assert "lacks the folder vae" in refusal(copy)


def test_half_a_download_is_refused(copy):
    weights = copy / "unet/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert "has a unet/diffusion_pytorch_model.safetensors that is cut short" in refusal(copy)


def test_missing_shards_of_weights_are_counted(copy):
    folder = copy / "unet"
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    placed = {"a": "one.safetensors", "b": "two.safetensors"}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    assert "lacks 2 of the 2 weight files" in refusal(copy)


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_an_unreadable_index_is_told(copy, content):
    (copy / "model_index.json").write_text(content)
    assert "has a model_index.json that" in refusal(copy)


def test_code_that_comes_with_a_pipeline_is_refused(copy):
    edit(copy / "model_index.json", _class_name=["pipeline", "MyPipeline"])
    assert "such code is never run" in refusal(copy)
    edit(copy / "model_index.json", _class_name="StableDiffusionPipeline", unet=["my_unet", "MyUnet"])
    (copy / "unet/my_unet.py").write_text("raise SystemExit('this was run')")
    assert "brings code of its own, unet/my_unet.py, and such code is never run" in refusal(copy)


def test_a_safety_checker_that_is_not_there_is_told(copy):
    assert "has no safety checker" in refusal(copy, safety_checker=True)


def test_a_part_that_is_left_out_need_not_be_there(copy):
    edit(copy / "model_index.json", safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])
    assert found(copy).left_out == ("safety_checker",)
    assert "lacks the folder safety_checker" in refusal(copy, safety_checker=True)


def test_half_size_weights_are_taken_when_there_are_no_others(copy):
    for name in found(copy).weights:
        path = copy / name
        path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))
    files = found(copy)
    assert files.variant == "fp16"
    assert all(".fp16." in name for name in files.weights) and len(files.weights) == 3


def test_the_fingerprint_follows_the_content_and_nothing_else(pipelines, copy):
    before = found(copy).fingerprint
    assert before == found(pipelines["tiny"]).fingerprint
    (copy / "README.md").write_text("another file")
    assert found(copy).fingerprint == before
    edit(copy / "scheduler/scheduler_config.json", steps_offset=0)
    assert found(copy).fingerprint != before


def test_a_hub_id_is_found_in_the_cache_and_nowhere_else(copy, hub_cache):
    message = refusal("some/model")
    assert "is not in the local Hugging Face cache" in message
    assert "hf download some/model (" in message and "a gated model" in message
    repository = hub_cache / "models--some--model"
    shutil.copytree(copy, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(COMMIT)
    files = found("some/model")
    assert (files.name, files.revision, files.fingerprint) == ("some/model", COMMIT, found(copy).fingerprint)
    assert "revision v2 is not in the local" in refusal("some/model", revision="v2")
    assert "only a model from the Hugging Face hub has revisions" in refusal(copy, revision="v2")


def test_what_an_image_depends_on_is_in_its_identity(copy, configure):
    render = configure(model=str(copy))
    files = find_pipeline(settled(render))
    before = identity_of(render, files)
    changes: list[dict[str, Any]] = [
        {"steps": 4}, {"guidance": 3.0}, {"scheduler": "own"}, {"native_size": 128}, {"dtype": "bfloat16"},
        {"threads": 2}, {"channels_last": False}, {"compile": True}, {"device": "cuda"},
    ]  # fmt: skip
    identities = [identity_of(configure(**{"model": str(copy), **change}), files) for change in changes]
    other = dataclasses.replace(files, fingerprint="0" * 64)
    identities.append(identity_of(render, other))
    assert all(one != before for one in identities)
    frees: list[dict[str, Any]] = [
        {"device_batch_items": 2},
        {"local_copy": "/x"},
        {"reuse": "/y"},
        {"scheduler": "DDIMScheduler"},
    ]
    for free in frees:
        assert identity_of(configure(**{"model": str(copy), **free}), files) == before


def test_a_sample_s_record_tells_how_it_was_drawn(configure):
    render = configure()
    assert facts_of(settled(render), find_pipeline(settled(render))) == {
        "renderer": "diffusion",
        "model": "tiny",
        "revision": "",
        "scheduler": "DDIMScheduler",
        "steps": 3,
        "guidance": 2.0,
        "native_size": 64,
        "dtype": "float32",
    }
