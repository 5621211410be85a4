"""The list of what can change an output. A key that moves between the lists changes what `resume` may do to a run."""

from __future__ import annotations

import dataclasses
import typing

import pytest

from slurm.profiles import Resources
from synthclip_hpc.config import RunConfig, SlurmConfig, flatten, get, keys_with_role, with_values
from synthclip_hpc.launch.chain import lay_out
from synthclip_hpc.stages.captions import layout as captions_layout
from synthclip_hpc.stages.phase import Sources
from tests.synthclip_hpc.model_folders import make_model

IDENTITY = [
    "seed",
    "concepts.bank",
    "concepts.subset",
    "concepts.limit",
    "concepts.sample",
    "concepts.exclude",
    "captions.engine",
    "captions.model",
    "captions.revision",
    "captions.prompt",
    "captions.per_concept",
    "captions.shard_items",
    "captions.batch_items",
    "captions.temperature",
    "captions.top_p",
    "captions.presence_penalty",
    "captions.frequency_penalty",
    "captions.max_tokens",
    "captions.max_words",
    "captions.require_concept",
    "captions.max_tries",
    "captions.device",
    "captions.dtype",
    "captions.threads",
    "captions.template.wording",
    "captions.transformers.device_batch_items",
    "captions.vllm.eager",
    "captions.vllm.cpu_cache_gib",
    "balance.target",
    "balance.t",
    "balance.mode",
    "balance.source",
    "balance.case",
    "balance.shard_items",
    "balance.match_items",
    "balance.keep_unmatched",
    "balance.allow_short",
    "render.renderer",
    "render.preset",
    "render.style",
    "render.size",
    "render.resample",
    "render.jpeg_quality",
    "render.jpeg_subsampling",
    "render.batch_items",
    "render.max_tries",
    "render.device",
    "render.dtype",
    "render.threads",
    "render.diffusion.model",
    "render.diffusion.revision",
    "render.diffusion.scheduler",
    "render.diffusion.steps",
    "render.diffusion.guidance",
    "render.diffusion.native_size",
    "render.diffusion.compile",
    "render.diffusion.channels_last",
    "render.diffusion.safety_checker",
    "render.glyphs.redrawn",
    "merge.sources",
    "merge.even",
    "merge.task_shards",
    "train.data",
    "train.mix",
    "train.model",
    "train.init",
    "train.epochs",
    "train.batch_size",
    "train.lr",
    "train.warmup_epochs",
    "train.warmup_lr",
    "train.final_lr",
    "train.weight_decay",
    "train.beta1",
    "train.beta2",
    "train.eps",
    "train.grad_clip",
    "train.gather_grad",
    "train.loss",
    "train.loss_tile",
    "train.accumulate",
    "train.checkpoint_activations",
    "train.compile",
    "train.channels_last",
    "train.device",
    "train.precision",
    "train.threads",
    "train.normalize",
    "train.interpolation",
    "train.crop_min",
    "train.color_jitter",
    "train.chunk_samples",
    "train.group_chunks",
    "train.lanes",
    "eval.datasets",
    "eval.tasks",
    "eval.checkpoints",
    "eval.model",
    "eval.pretrained",
    "eval.templates",
    "eval.probe",
    "eval.episodes",
    "eval.glyph_images",
    "eval.device",
    "eval.precision",
    "eval.threads",
    "eval.batch_items",
]

EXECUTION = [
    "workers",
    "captions.engines",
    "captions.template.items_per_s",
    "balance.items_per_s",
    "captions.vllm.tensor_parallel",
    "captions.vllm.gpu_memory",
    "render.renderers",
    "render.reuse",
    "render.items_per_s",
    "render.diffusion.device_batch_items",
    "render.diffusion.local_copy",
    "train.loader_workers",
    "train.prefetch_batches",
    "train.processes_per_node",
    "train.start_timeout_s",
    "train.checkpoint_min",
    "train.checkpoint_steps",
    "train.keep_checkpoints",
    "train.mark_epochs",
    "train.log_steps",
    "train.tensorboard",
    "train.wandb",
    "eval.root",
    "eval.loader_workers",
    "eval.reuse",
    "report.runs",
    "report.baseline",
    "retries.timeouts",
    "retries.preemptions",
    "retries.node_failures",
    "retries.errors",
    "retries.unknown",
    "retries.unfit_nodes",
    "retries.check_nodes",
    *(f"slurm.{item.name}" for item in dataclasses.fields(SlurmConfig)),
]


def test_identity_keys():
    assert keys_with_role("identity") == IDENTITY


def test_execution_keys():
    assert sorted(keys_with_role("execution")) == sorted(EXECUTION)


def test_every_key_has_one_role():
    roles = {key: item.metadata.get("role") for key, _, item in flatten(RunConfig())}
    assert {key: role for key, role in roles.items() if role not in ("identity", "execution")} == {}
    assert len(IDENTITY) + len(EXECUTION) == len(list(flatten(RunConfig())))


def test_every_key_has_a_help_text():
    from pathlib import Path

    from synthclip_hpc import config

    assert config.__file__
    files = sorted(Path(config.__file__).parent.glob("*.py"))
    lines = [line for file in files for line in file.read_text().splitlines()]
    fields = [number for number, line in enumerate(lines) if "= identity(" in line or "= execution(" in line]
    assert len(fields) == len(IDENTITY) + len(EXECUTION)
    assert [lines[number] for number in fields if not lines[number + 1].strip().startswith('"""')] == []


def test_slurm_keys_are_the_resources_a_profile_may_name():
    ours = {item.name: typing.get_type_hints(SlurmConfig)[item.name] for item in dataclasses.fields(SlurmConfig)}
    for own in ("profile", "exclude_also", "confirm_gpu_hours", "gpu_watts"):
        ours.pop(own)
    theirs = {item.name: typing.get_type_hints(Resources)[item.name] for item in dataclasses.fields(Resources)}
    assert list(ours) == list(theirs)
    for key, hint in theirs.items():
        wanted = {option for option in (typing.get_args(hint) or (hint,)) if option is not type(None)}
        if typing.get_origin(hint) is tuple:
            wanted = {hint}
        assert {option for option in typing.get_args(ours[key]) if option is not type(None)} == wanted, key
        assert getattr(SlurmConfig(), key) is None


ALL_ENGINES = {"seed", *(f"concepts.{name}" for name in ("bank", "subset", "limit", "sample", "exclude"))} | {
    f"captions.{name}" for name in ("engine", "per_concept", "shard_items", "batch_items")
}
# A hub id's revision counts by the files it gives, which a local folder does not have.
CAPTIONS = [key for key in IDENTITY if not key.startswith(("balance.", "render.", "merge.", "train.", "eval."))]
WITH_MODEL = set(CAPTIONS) - {"captions.revision", "captions.template.wording"}
COUNTS = {
    "template": ALL_ENGINES | {"captions.template.wording"},
    "transformers": {key for key in WITH_MODEL if "vllm" not in key},
    "vllm": {key for key in WITH_MODEL if "transformers" not in key},
    "my_package.my_module:open_mine": {key for key in WITH_MODEL if "vllm" not in key and "transformers" not in key},
}
"""Engine -> the identity keys that change what it writes, on the CPU."""


@pytest.mark.parametrize("engine", COUNTS)
def test_identity_keys_of_an_engine_enter_its_plan_and_no_others_do(tmp_path, engine):
    model = make_model(tmp_path / "model")
    other = make_model(tmp_path / "other", data=b"other weights")
    bank, exclude = tmp_path / "bank.txt", tmp_path / "exclude.txt"
    bank.write_text("cat\ndog\n" * 3 + "".join(f"c{n}\n" for n in range(20)))
    exclude.write_text("dog\n")
    values = {
        "concepts.bank": str(bank),
        "concepts.subset": "random=9",
        "concepts.limit": 7,
        "concepts.sample": 7,
        "concepts.exclude": str(exclude),
        "captions.engine": "template" if engine != "template" else "another.module:open_other",
        "captions.model": str(other),
        "captions.prompt": "released",
        "captions.template.wording": "emoji",
        "captions.top_p": 0.5,
        "captions.device": "cuda",
        "captions.dtype": "float16",
        "captions.vllm.gpu_memory": 0.5,
    }
    base = with_values(
        RunConfig(),
        {"concepts.bank": "emoji", "captions.engine": engine, "captions.model": str(model), "captions.device": "cpu"},
    )

    def plan_hash(key: str | None = None) -> str:
        config = base
        if key is not None and key != "captions.revision":
            value = get(base, key)
            plain: object = (
                not value if isinstance(value, bool) else value + 1 if isinstance(value, int | float) else "x"
            )
            if "slurm.setup" in key or "slurm.srun_args" in key:
                plain = ("x",)
            config = with_values(base, {key: values.get(key, plain)})
        return captions_layout(config, Sources(config)).hash

    hashes = {key: plan_hash(key) for key in CAPTIONS}
    assert {key for key, value in hashes.items() if value != plan_hash()} == COUNTS[engine]
    assert len({hashes[key] for key in COUNTS[engine]}) == len(COUNTS[engine])
    # On the CPU a model is spread over nothing: `captions.vllm.tensor_parallel` is looked at below.
    assert {plan_hash(key) for key in EXECUTION if "tensor_parallel" not in key} == {plan_hash()}


def test_the_gpus_of_an_engine_enter_no_plan(tmp_path):
    values = {"captions.engine": "vllm", "captions.model": str(make_model(tmp_path / "model"))}
    base = with_values(RunConfig(), {"concepts.bank": "emoji", **values})
    spread = with_values(base, {"captions.vllm.tensor_parallel": 4})
    assert captions_layout(spread, Sources(spread)).hash == captions_layout(base, Sources(base)).hash


def test_identity_keys_of_balance_enter_one_of_its_plans(tmp_path):
    bank, table = tmp_path / "bank.txt", tmp_path / "captions.txt"
    bank.write_text("".join(f"c{n}\n" for n in range(50)))
    table.write_text("".join(f"a picture of c{n}\n" for n in range(50)))
    base = with_values(RunConfig(), {"concepts.bank": str(bank), "balance.target": 20})
    others = {
        "seed": 1,
        "balance.target": 21,
        "balance.mode": "random",
        "balance.source": str(table),
        "balance.case": "fold",
        "balance.shard_items": 7,
        "balance.match_items": 7,
        "balance.keep_unmatched": True,
        "balance.allow_short": True,
    }

    def plan_hashes(**changes: object) -> tuple[str, ...]:
        config = with_values(base, dict(changes))
        return tuple(link.plan.hash for link in lay_out(config, ["balance"]))

    assert len(plan_hashes()) == 7
    found = {key: plan_hashes(**{key: value}) for key, value in others.items()}
    found["balance.t"] = plan_hashes(**{"balance.target": None, "balance.t": 3.0})
    assert {key for key in IDENTITY if key.startswith("balance.")} == found.keys() - {"seed"}
    assert plan_hashes() not in found.values()
    assert len(set(found.values())) == len(found)
    assert plan_hashes(**{"workers": 3, "captions.template.items_per_s": 5.0}) == plan_hashes()
