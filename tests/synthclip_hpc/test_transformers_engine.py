from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers

from synthclip_hpc.captioning.engines.engine import Request
from synthclip_hpc.captioning.engines.transformers_engine import TransformersEngine, open_transformers
from synthclip_hpc.captioning.models.find import ModelFiles
from synthclip_hpc.config import CaptionsConfig, TransformersConfig
from synthclip_hpc.errors import UserError
from tests.synthclip_hpc import chat_models
from tests.synthclip_hpc.answering_process import CONCEPTS, requests, start

pytestmark = pytest.mark.engines
smollm2 = chat_models.smollm2

CONFIG = CaptionsConfig(engine="transformers", device="cpu", max_tokens=12, temperature=1.0)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    return chat_models.make_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(autouse=True)
def _same_environment() -> Iterator[None]:
    """An engine sets variables and threads for the whole process."""
    before, threads = dict(os.environ), torch.get_num_threads()
    yield
    os.environ.clear()
    os.environ.update(before)
    torch.set_num_threads(threads)


def opened(model: ModelFiles, **changes: object) -> TransformersEngine:
    engine = open_transformers(CaptionsConfig(**{**vars(CONFIG), **changes}), model)
    assert isinstance(engine, TransformersEngine)
    return engine


def test_an_answer_does_not_depend_on_its_batch_mates_nor_on_what_came_before(tiny: ModelFiles):
    engine = opened(tiny)
    batch = requests(0, 9, words=(1, 7))
    assert len({len(request.prompt) for request in batch}) > 1  # rows are padded
    together = engine.generate(batch)
    assert engine.generate(batch) == together
    assert engine.generate(batch[::-1]) == together[::-1]
    assert [engine.generate([request])[0] for request in batch] == together
    assert opened(tiny, transformers=TransformersConfig(device_batch_items=4)).generate(batch) == together
    assert len(set(together)) > 5


def test_the_seed_alone_tells_answers_to_one_prompt_apart(tiny: ModelFiles):
    engine = opened(tiny)
    batch = [Request("fox", "the fox", seed) for seed in (1, 2, 1, 1 + 2**32)]
    first, second, again, upper = engine.generate(batch)
    assert first == again
    assert len({first, second, upper}) == 3


def test_temperature_0_takes_the_models_likeliest_tokens(tiny: ModelFiles):
    engine = opened(tiny, temperature=0.0, presence_penalty=0.0, frequency_penalty=0.0)
    (ids,) = engine.chat.encode(["the red fox"], engine.room)
    greedy: list[int] = []
    with torch.inference_mode():
        for _ in range(CONFIG.max_tokens):
            logits = engine.network(torch.tensor([[*ids, *greedy]])).logits[0, -1]
            greedy.append(int(logits.argmax()))
    # Step by step without a cache, and without the repetition penalty and top-k of the model's own file.
    answers = engine.generate([Request("fox", "the red fox", 1), Request("fox", "a blue lighthouse in the snow", 2)])
    assert answers[0] == engine.chat.decode([greedy])[0]


def test_answers_end_at_max_tokens(tiny: ModelFiles):
    engine = opened(tiny, max_tokens=3)
    assert max(len(engine.chat.tokenizer.tokenize(answer)) for answer in engine.generate(requests(0, 20))) == 3


def test_empty_answers_and_batches_are_answers(tiny: ModelFiles):
    engine = opened(tiny)
    engine.network.lm_head = _Biased(engine.network.lm_head, token=2)
    assert engine.generate(requests(0, 3)) == ["", "", ""]
    assert engine.generate([]) == []


class _Biased(torch.nn.Module):
    """An output layer that always prefers one token."""

    def __init__(self, layer: torch.nn.Module, token: int) -> None:
        super().__init__()
        self.layer, self.token = layer, token

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        logits = self.layer(hidden)
        logits[..., self.token] += 1000
        return logits


class _SmallDevice:
    """A network that runs out of memory above so many rows; it notes the rows it was asked for."""

    def __init__(self, network: torch.nn.Module, rows: int) -> None:
        self.network, self.rows, self.asked = network, rows, list[int]()
        self.device = network.device

    def generate(self, ids: torch.Tensor, **options: object) -> torch.Tensor:
        self.asked.append(len(ids))
        if len(ids) > self.rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore lines")
        return self.network.generate(ids, **options)


def test_out_of_memory_halves_the_device_batch_and_keeps_the_answers(tiny: ModelFiles, capsys):
    engine = opened(tiny)
    batch = requests(0, 16)
    expected = engine.generate(batch)
    engine.network = small = _SmallDevice(engine.network, rows=5)
    assert engine.generate(batch) == expected
    assert small.asked == [16, 8, 4, 4, 4, 4]
    small.asked.clear()
    assert engine.generate(batch) == expected
    assert small.asked == [4, 4, 4, 4]
    told = capsys.readouterr().err
    assert "16 prompts do not fit" in told
    assert "in a new run captions.transformers.device_batch_items=8 starts with that" in told


def test_when_one_prompt_does_not_fit_the_message_says_what_to_change(tiny: ModelFiles):
    engine = opened(tiny)
    engine.network = _SmallDevice(engine.network, rows=0)
    with pytest.raises(UserError, match=r"one prompt of .* does not fit") as told:
        engine.generate(requests(0, 4))
    for word in ("captions.batch_items", "captions.dtype", "captions.device", "GPU with more memory", "2.00 GiB"):
        assert word in str(told.value)
    before, after = str(told.value).split("; or in a new run ")
    assert "captions.dtype" in after and "captions.dtype" not in before


def test_other_errors_of_the_network_come_out_as_they_are(tiny: ModelFiles, monkeypatch: pytest.MonkeyPatch):
    engine = opened(tiny)

    def fail(*args: object, **options: object) -> None:
        raise ArithmeticError("kernel went wrong")

    monkeypatch.setattr(engine.network, "generate", fail)
    with pytest.raises(ArithmeticError, match="kernel went wrong"):
        engine.generate(requests(0, 2))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_told(tiny: ModelFiles):
    with pytest.raises(UserError, match=r"^captions\.device=cuda: .*sees no GPU"):
        opened(tiny, device="cuda")


def test_a_gpu_without_bfloat16_is_told(tiny: ModelFiles, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 0))
    with pytest.raises(UserError, match=r"^captions\.dtype=auto: .*captions\.dtype=float16"):
        opened(tiny, device="cuda")


def test_dtype_and_threads_are_what_the_configuration_says(tiny: ModelFiles):
    assert opened(tiny).network.dtype == torch.float32
    assert torch.get_num_threads() == 1
    assert opened(tiny, dtype="bfloat16", threads=2).network.dtype == torch.bfloat16
    assert torch.get_num_threads() == 2


def test_smollm2_answers_the_same_in_a_fresh_process_and_after_other_batches(smollm2: ModelFiles):
    with start(CONFIG, smollm2, [(4, 8)]) as process:
        engine = opened(smollm2)
        engine.generate(requests(0, 3))
        warm = engine.generate(requests(4, 8))
        again = engine.generate(requests(4, 8))
        engine.close()
        (fresh,) = process.wait_for_answers()
    assert fresh == warm
    assert again == warm
    assert len(set(warm)) == 4 and all(len(answer.split()) > 3 for answer in warm)
    assert any(concept in answer.lower() for concept, answer in zip(CONCEPTS[4:8], warm, strict=True))


def with_config(tiny: ModelFiles, folder: Path, **changes: object) -> ModelFiles:
    """A copy of the tiny model with changes to its config.json."""
    shutil.copytree(tiny.path, folder)
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    return ModelFiles("changed", folder, "", tiny.max_tokens, None)


def test_an_architecture_that_brings_code_of_its_own_is_refused_and_the_code_not_run(tiny: ModelFiles, tmp_path: Path):
    own = {"AutoConfig": "own_code.OwnConfig", "AutoModelForCausalLM": "own_code.OwnModel"}
    model = with_config(tiny, tmp_path / "m", model_type="own-architecture", auto_map=own)
    (tmp_path / "m" / "own_code.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\n")
    with pytest.raises(UserError, match=r"^captions\.model=changed: .*code that comes with a model .* is never run"):
        opened(model)
    assert not (tmp_path / "run").exists()


def test_a_model_that_brings_code_for_an_architecture_that_is_known_is_opened_without_it(
    tiny: ModelFiles, tmp_path: Path
):
    model = with_config(tiny, tmp_path / "m", auto_map={"AutoModelForCausalLM": "own_code.OwnModel"})
    (tmp_path / "m" / "own_code.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\n")
    assert len(opened(model).generate(requests(0, 2))) == 2
    assert not (tmp_path / "run").exists()


def test_whether_to_run_such_code_is_never_asked(tiny: ModelFiles, monkeypatch: pytest.MonkeyPatch):
    asked: list[object] = []
    real = transformers.AutoModelForCausalLM.from_pretrained

    def note(*given: Any, **options: Any) -> Any:
        asked.append(options.get("trust_remote_code"))
        return real(*given, **options)

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", note)
    opened(tiny)
    assert asked == [False]


def test_an_unknown_architecture_is_told(tiny: ModelFiles, tmp_path: Path):
    with pytest.raises(UserError, match=r"^captions\.model=changed: the transformers installed here has no such arch"):
        opened(with_config(tiny, tmp_path / "m", model_type="own-architecture"))
