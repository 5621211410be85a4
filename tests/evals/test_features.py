"""Features: right, made once, never taken from another's cache, and made in smaller parts when memory ends."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evals import features, layers
from evals.cache import remember
from evals.errors import EvalError
from evals.features import Extraction, image_features, text_features
from evals.folder import open_folder
from evals.model import ClipModel, open_model
from tests.evals import small_world

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")
pytestmark = pytest.mark.engines


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    small_world.write_classification(folder / "data", images=30)
    small_world.write_model(folder / "model")
    return folder


@pytest.fixture(scope="module")
def model(world: Path) -> ClipModel:
    return open_model(str(world / "model"))


def by_hand(model: ClipModel, data: Path) -> np.ndarray:
    """One image after the other, by its bytes in the tar."""
    import io

    from PIL import Image

    images = open_folder(data).split("test").images
    rows = []
    for index in range(len(images)):
        content = images.shards[images.shard[index]].read_bytes()[images.offset[index] :][: images.size[index]]
        pixels = model.preprocess(Image.open(io.BytesIO(content)).convert("RGB"))
        with torch.no_grad():
            rows.append(model.module.encode_image(pixels[None])[0].numpy())
    return np.stack(rows)


@pytest.mark.parametrize("workers", [0, 2])
def test_features_are_encode_images_of_every_image_in_order(world: Path, model: ClipModel, workers: int) -> None:
    split = open_folder(world / "data").split("test")
    found = image_features(model, split, ("post",), Extraction(batch_size=7, workers=workers))["post"]
    assert found.shape == (30, 32) and found.dtype == np.float32
    assert found == pytest.approx(by_hand(model, world / "data"), abs=1e-5)
    assert np.ptp(found, axis=0).min() > 1e-3


def test_both_layers_come_out_of_one_pass_and_are_read_again(
    world: Path, model: ClipModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[tuple[str, ...]] = []
    encode = layers.encode_images

    def counted(module: Any, pixels: Any, wanted: tuple[Any, ...]) -> Any:
        passes.append(wanted)
        return encode(module, pixels, wanted)

    monkeypatch.setattr(features, "encode_images", counted)
    split = open_folder(world / "data").split("test")
    how = Extraction(batch_size=30, workers=0, cache=tmp_path)
    first = image_features(model, split, ("pre", "post"), how)
    assert passes == [("pre", "post")] and first["pre"].shape == (30, 256)
    again = image_features(model, split, ("post", "pre"), how)
    assert passes == [("pre", "post")] and all(np.array_equal(first[one], again[one]) for one in first)
    other = replace(model, preprocess_config={**model.preprocess_config, "mean": [0, 0, 0]})
    image_features(other, split, ("post",), how)
    image_features(replace(model, sha256="0" * 64), split, ("post",), how)
    assert passes[1:] == [("post",), ("post",)]


def test_texts_are_kept_by_their_tokenizer_and_images_by_what_decodes_them(
    world: Path, model: ClipModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split, how = open_folder(world / "data").split("test"), Extraction(workers=0, cache=tmp_path)

    def kept(one: ClipModel) -> int:
        image_features(one, split, ("post",), how)
        text_features(one, ["a cat"], how)
        return len(list(tmp_path.iterdir()))

    assert [kept(model), kept(model), kept(replace(model, tokenizer="another"))] == [2, 2, 3]
    for name in ("torchvision", "PIL"):
        with monkeypatch.context() as patch:
            patch.setattr(f"{name}.__version__", "0.0")
            assert kept(model) == (4 if name == "torchvision" else 5)
    assert kept(model) == 5


def broken(model: ClipModel, part: str, value: float) -> ClipModel:
    module = copy.deepcopy(model.module)
    with torch.no_grad():
        module.get_parameter(part).mul_(value)
    return replace(model, module=module)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_features_that_are_not_finite_are_refused_and_not_kept(
    world: Path, model: ClipModel, tmp_path: Path, value: float
) -> None:
    split, how = open_folder(world / "data").split("test"), Extraction(workers=0, cache=tmp_path)
    with pytest.raises(EvalError, match=r"0\.tar, sample s00000 are not finite.* the model diverged .*checkpoint\)$"):
        image_features(broken(model, "visual.attnpool.c_proj.weight", value), split, ("post",), how)
    half = replace(broken(model, "text_projection", value), precision="amp_fp16")
    with pytest.raises(EvalError, match=r"text 'a cat' are not finite.*or precision=amp_fp16 overflows"):
        text_features(half, ["a cat"], how)
    assert list(tmp_path.iterdir()) == []


def test_the_one_image_whose_features_are_not_finite_is_named(
    world: Path, model: ClipModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = open_folder(world / "data").split("test")
    encode = layers.encode_images
    seen: list[int] = []

    def spoiled(module: Any, pixels: Any, wanted: tuple[Any, ...]) -> Any:
        found = encode(module, pixels, wanted)
        for row in range(len(pixels)):
            seen.append(row)
            if len(seen) == 18:
                found["post"][row, 3] = float("nan")
        return found

    monkeypatch.setattr(features, "encode_images", spoiled)
    with pytest.raises(EvalError) as told:
        image_features(model, split, ("post",), Extraction(batch_size=7, workers=0))
    assert split.images.name(17) in str(told.value) and len(seen) == 21  # and nothing is computed in vain


def test_only_the_missing_layer_is_made(world: Path, model: ClipModel, tmp_path: Path) -> None:
    split = open_folder(world / "data").split("test")
    how = Extraction(workers=0, cache=tmp_path)
    image_features(model, split, ("post",), how)
    assert image_features(model, split, ("post", "pre"), how)["pre"].shape == (30, 256)
    assert len(list(tmp_path.iterdir())) == 2


def spoil(entry: Path, how: str) -> None:
    record = entry / "record.json"
    if how == "cut":
        (entry / "features.npy").write_bytes((entry / "features.npy").read_bytes()[:-4])
    elif how == "changed":
        content = bytearray((entry / "features.npy").read_bytes())
        content[-1] ^= 1
        (entry / "features.npy").write_bytes(content)
    elif how == "without record":
        record.unlink()
    else:
        told = json.loads(record.read_text())
        told["identity"]["model"] = "another"
        record.write_text(json.dumps(told))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("cut", "changed or cut off"), ("changed", "changed or cut off"), ("without record", "cannot be read"),
        ("another's", "belongs to another model"),
    ],
)  # fmt: skip
def test_a_cache_entry_that_is_not_what_it_should_be_is_made_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str, message: str
) -> None:
    made: list[int] = []

    def make() -> dict[str, np.ndarray]:
        made.append(1)
        return {"features": np.arange(6.0).reshape(2, 3)}

    identity = {"model": "own", "layer": "post"}
    for _ in range(2):
        found = remember(tmp_path, identity, ["features"], make)
    assert len(made) == 1 and capsys.readouterr().err == ""
    (entry,) = tmp_path.iterdir()
    spoil(entry, how)
    assert np.array_equal(remember(tmp_path, identity, ["features"], make)["features"], found["features"])
    assert len(made) == 2 and message in capsys.readouterr().err
    remember(tmp_path, identity, ["features"], make)
    assert len(made) == 2 and [path.name for path in tmp_path.iterdir()] == [entry.name]


def test_an_interrupted_writer_leaves_no_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", fail)
    with pytest.raises(EvalError, match=r"cannot be written .No space left"):
        remember(tmp_path, {"a": 1}, ["x"], lambda: {"x": np.zeros(3)})
    assert list(tmp_path.iterdir()) == []


def test_out_of_memory_halves_the_batch_until_it_fits(
    world: Path,
    model: ClipModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    split = open_folder(world / "data").split("test")
    how = Extraction(batch_size=16, workers=0)
    expected = image_features(model, split, ("post",), how)["post"]
    assert how.batch_size_used == 16
    how = Extraction(batch_size=16, workers=0, cache=tmp_path)
    encode = layers.encode_images
    sizes: list[int] = []

    def limited(module: Any, pixels: Any, wanted: tuple[Any, ...]) -> Any:
        sizes.append(len(pixels))
        if len(pixels) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(module, pixels, wanted)

    monkeypatch.setattr(features, "encode_images", limited)
    assert image_features(model, split, ("post",), how)["post"] == pytest.approx(expected, abs=1e-5)
    assert sizes == [16, 8, 4, 4, 4, 4, 4, 4, 4, 2]
    told = capsys.readouterr().err
    assert "batches of 16, goes on with 8" in told and "batches of 8, goes on with 4" in told
    again = Extraction(batch_size=16, workers=0, cache=tmp_path)
    text_features(model, ["a cat"], again)
    assert again.batch_size_used == 16
    image_features(model, split, ("post",), again)
    # What was kept is told to be what it is.
    assert how.batch_size_used == again.batch_size_used == 4 and len(sizes) == 10


def test_a_single_image_too_much_and_another_error_are_told(
    world: Path, model: ClipModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = open_folder(world / "data").split("test")
    for error, kind in [(torch.OutOfMemoryError("full"), EvalError), (RuntimeError("a bug"), RuntimeError)]:

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(features, "encode_images", fail)
        with pytest.raises(kind, match=r"out of memory with one image|a bug"):
            image_features(model, split, ("post",), Extraction(batch_size=4, workers=0))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_named(tmp_path: Path, model: ClipModel, workers: int) -> None:
    good = small_world.encoded(small_world.picture(1, 1), "png")
    members = [("a.png", good), ("a.cls", b"0"), ("b.png", good[:200]), ("b.cls", b"0")]
    small_world.write_split(tmp_path, "test", [members])
    with pytest.raises(EvalError, match=r"0\.tar, sample b: damaged image"):
        image_features(model, open_folder(tmp_path).split("test"), ("post",), Extraction(workers=workers))


def test_equal_texts_have_equal_features_in_their_own_places(model: ClipModel) -> None:
    texts = [f"text {number}" for number in range(20)] + ["text 3"]
    found = text_features(model, texts, Extraction(batch_size=6))
    assert found.shape == (21, 32) and np.array_equal(found[3], found[20])
    with torch.no_grad():
        expected = model.module.encode_text(model.tokenize(texts)).numpy()
    assert found == pytest.approx(expected, abs=1e-5)
