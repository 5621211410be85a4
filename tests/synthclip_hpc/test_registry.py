"""What an engine takes from the configuration: what is refused, promised, planned, and told of it."""

from __future__ import annotations

import json

import pytest

from synthclip_hpc.captioning.prompts import find_prompts
from synthclip_hpc.captioning.registry import check_engine, check_prompts, identity_of, model_column
from synthclip_hpc.config import CaptionsConfig, RunConfig, VllmConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.stages.captions import open_writer, promise
from tests.synthclip_hpc import scripted_engine
from tests.synthclip_hpc.model_folders import make_model

OWN = "tests.synthclip_hpc.scripted_engine:open_scripted"


@pytest.fixture(autouse=True)
def fresh_script():
    scripted_engine.reset()
    yield
    scripted_engine.reset()


def test_the_model_column_of_an_own_engine_names_the_engine_and_only_a_model_that_was_given():
    assert model_column(CaptionsConfig(), None) == "template"
    assert model_column(CaptionsConfig(engine="a.b:open"), None) == "a.b:open"
    assert model_column(CaptionsConfig(engine="a.b:open", model="mine"), None) == "a.b:open mine"


@pytest.mark.parametrize(
    ("promised", "values"),
    [
        ("bytes", {"engine": "template"}),
        ("bytes", {"engine": "template", "device": "cpu"}),
        ("bytes", {"engine": "transformers", "device": "cpu"}),
        ("items", {"engine": "transformers"}),
        ("bytes", {"engine": "vllm", "device": "cpu", "vllm": VllmConfig(eager=True)}),
        ("items", {"engine": "vllm", "device": "cpu", "vllm": VllmConfig(eager=False)}),
        ("items", {"engine": "vllm", "device": "cpu", "vllm": VllmConfig(eager=True, tensor_parallel=2)}),
        ("items", {"engine": "vllm", "vllm": VllmConfig(eager=True)}),
        ("items", {"engine": "a.b:open", "device": "cpu"}),
        ("items", {"engine": "a.b:open"}),
    ],
)
def test_bytes_are_promised_only_where_they_repeat(promised, values):
    assert promise(RunConfig(captions=CaptionsConfig(**values))) == promised


def test_a_model_is_not_spread_over_gpus_that_the_cpu_does_not_have():
    two = VllmConfig(tensor_parallel=2)
    with pytest.raises(UserError, match=r"captions.vllm.tensor_parallel=2: .*captions.device=cpu"):
        check_engine(CaptionsConfig(engine="vllm", device="cpu", vllm=two))
    check_engine(CaptionsConfig(engine="vllm", vllm=two))
    check_engine(CaptionsConfig(engine="transformers", device="cpu", vllm=two))


@pytest.mark.parametrize(
    ("device", "names"), [("cpu", {"captions.threads", "captions.vllm.cpu_cache_gib"}), ("cuda", set())]
)
def test_what_counts_on_the_cpu_alone_is_planned_for_the_cpu_alone(device, names):
    found = identity_of(CaptionsConfig(engine="vllm", device=device), None, find_prompts("paper"))
    assert found.keys() & {"captions.threads", "captions.vllm.cpu_cache_gib"} == names
    assert "captions.vllm.eager" in found


@pytest.mark.parametrize("prompt", ["unconditioned", "topics"])
@pytest.mark.parametrize("command", [("submit", "stage=captions"), ("preview", "concept=fox")])
def test_captions_need_not_name_a_concept_that_nobody_asks_for(app, prompt, command):
    words = (f"captions.engine={OWN}", f"captions.prompt={prompt}", "captions.require_concept=true")
    outcome = app(*command, *words)
    assert outcome.code == 2
    assert f"captions.require_concept=true: captions.prompt={prompt} asks for no concept" in outcome.words
    assert scripted_engine.opened == []
    assert not app.path.exists()


def test_the_same_prompts_may_be_used_without_that_rule_and_templates_know_no_rules():
    for prompt in ("unconditioned", "topics", "paper"):
        check_prompts(CaptionsConfig(engine=OWN), find_prompts(prompt))
    check_prompts(CaptionsConfig(engine=OWN, require_concept=True), find_prompts("paper"))
    check_prompts(CaptionsConfig(require_concept=True), find_prompts("topics"))


@pytest.fixture
def done(app, at_once, tmp_path):
    """A finished run of an own engine."""
    bank = tmp_path / "bank.json"
    bank.write_text(json.dumps(["red fox", "oak", "gun"]))
    assert app("submit", "stage=captions", f"concepts.bank={bank}", f"captions.engine={OWN}").code == 0
    scripted_engine.reset()
    return app


@pytest.mark.parametrize(
    ("key", "planned", "words"),
    [
        ("captions.rules", 1, "captions.rules: recorded 1, asked 2"),
        (
            "captions.settled",
            {"dtype": "bfloat16", "max_tokens": 7},
            "captions.settled.max_tokens: recorded 7, asked 64",
        ),
        ("captions.temperature", None, "captions.temperature: recorded '(absent)', asked 0.7"),
        ("captions.of_a_newer_version", True, "captions.of_a_newer_version: recorded True, asked '(absent)'"),
        ("captions.engine", "another:open", "captions.engine: recorded 'another:open'"),
        ("captions.prompt.sha256", "0" * 64, "captions.prompt=paper: its files are not those of the plan"),
        ("captions.model.fingerprint", "0" * 64, "its files are not those of the plan"),
    ],
)
def test_a_worker_refuses_every_part_of_a_plan_that_is_not_its_own(done, key, planned, words):
    from dataclasses import replace

    from sharding.plan import load_plan

    plan = load_plan(done.run.phase("captions", "write"))
    assert plan is not None
    config = done.run.load_config()
    with open_writer(config, done.run, plan):
        assert scripted_engine.opened == ["opened"]
    identity = {name: value for name, value in {**plan.identity, key: planned}.items() if value is not None}
    other = replace(plan, identity=identity)
    with pytest.raises(UserError) as caught, open_writer(config, done.run, other):
        pass
    assert words in str(caught.value)
    assert "new run" in str(caught.value)
    assert scripted_engine.opened == ["opened", "closed"]


def test_markers_tell_the_model_that_wrote_their_captions(app, at_once, tmp_path, monkeypatch):
    monkeypatch.setattr("synthclip_hpc.captioning.preflight.check_place", lambda *given: None)
    monkeypatch.setattr("synthclip_hpc.stages.captions.open_engine", scripted_engine.open_scripted)
    model = make_model(tmp_path / "my-model")
    words = ("stage=captions", "concepts.bank=emoji", "concepts.limit=5", "captions.shard_items=2")
    engine = ("captions.engine=transformers", f"captions.model={model}", "captions.device=cpu")
    assert app("submit", *words, *engine).code == 0
    plan = json.loads((app.path / "captions/write/plan.json").read_text())
    markers = [json.loads(path.read_text()) for path in app.path.glob("captions/write/markers/*/*.json")]
    assert len(markers) == 3
    for marker in markers:
        assert marker["provenance"]["model"] == {
            "name": "my-model",
            "path": str(model),
            "revision": None,
            "fingerprint": plan["identity"]["captions.model.fingerprint"],
        }
    assert {row["model"] for row in app.captions()} == {"my-model"}


def test_the_concept_table_is_read_once_for_all_shards_and_again_when_it_is_another(done, monkeypatch):
    import pyarrow.parquet as pq

    from sharding.plan import load_plan
    from synthclip_hpc.stages.caption_items import read_concepts

    path = done.path / "concepts/read/data/000/00000.parquet"
    plan = load_plan(done.run.phase("captions", "write"))
    assert plan is not None
    read, whole = [], pq.read_table

    def recording(source, **named):
        read.append(source)
        return whole(source, **named)

    monkeypatch.setattr(pq, "read_table", recording)
    table = whole(path)
    path.unlink()
    pq.write_table(table, path)
    assert [read_concepts(done.run, plan).num_rows for _ in range(5)] == [3] * 5
    assert read == [path]
    path.unlink()
    pq.write_table(table.slice(0, 2), path)
    with pytest.raises(RuntimeError, match="has 2 rows, the plan 3"):
        read_concepts(done.run, plan)
