"""The list of what can change an output. A key that moves between the lists changes what `resume` may do to a run."""

from __future__ import annotations

import dataclasses
import typing

from slurm.profiles import Resources
from synthclip_hpc.config import RunConfig, SlurmConfig, flatten, get, keys_with_role
from synthclip_hpc.stages.captions import layout as captions_layout
from synthclip_hpc.stages.phase import Sources

IDENTITY = [
    "seed",
    "concepts.bank",
    "concepts.limit",
    "concepts.sample",
    "captions.engine",
    "captions.per_concept",
    "captions.shard_items",
    "captions.batch_items",
]

EXECUTION = [
    "workers",
    "captions.template.items_per_s",
    "retries.timeouts",
    "retries.preemptions",
    "retries.node_failures",
    "retries.errors",
    "retries.unknown",
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
    import inspect

    from synthclip_hpc import config

    lines = inspect.getsource(config).splitlines()
    fields = [number for number, line in enumerate(lines) if "= identity(" in line or "= execution(" in line]
    assert len(fields) == len(IDENTITY) + len(EXECUTION)
    assert [lines[number] for number in fields if not lines[number + 1].strip().startswith('"""')] == []


def test_slurm_keys_are_the_resources_a_profile_may_name():
    ours = {item.name: typing.get_type_hints(SlurmConfig)[item.name] for item in dataclasses.fields(SlurmConfig)}
    ours.pop("profile")
    theirs = {item.name: typing.get_type_hints(Resources)[item.name] for item in dataclasses.fields(Resources)}
    assert list(ours) == list(theirs)
    for key, hint in theirs.items():
        wanted = {option for option in (typing.get_args(hint) or (hint,)) if option is not type(None)}
        if typing.get_origin(hint) is tuple:
            wanted = {hint}
        assert {option for option in typing.get_args(ours[key]) if option is not type(None)} == wanted, key
        assert getattr(SlurmConfig(), key) is None


def changed(config: RunConfig, key: str) -> RunConfig:
    from synthclip_hpc.config import with_values

    value = get(config, key)
    other = {
        "concepts.bank": "BANK",
        "concepts.limit": 7,
        "concepts.sample": 7,
        "slurm.setup": ("a",),
        "slurm.srun_args": ("a",),
    }
    if key in other:
        return with_values(config, {key: other[key]})
    if key == "captions.engine":
        return config
    return with_values(config, {key: value + 1 if isinstance(value, int | float) else "x" if "slurm" in key else 1})


def test_execution_keys_enter_no_plan_and_identity_keys_do(tmp_path):
    bank = tmp_path / "bank.txt"
    bank.write_text("cat\ndog\n" * 3 + "".join(f"c{n}\n" for n in range(20)))
    from synthclip_hpc.config import with_values

    def plan_hash(config: RunConfig) -> str:
        if config.concepts.bank == "BANK":
            config = with_values(config, {"concepts.bank": str(bank)})
        return captions_layout(config, Sources(config)).hash

    base = RunConfig()
    hashes = {key: plan_hash(changed(base, key)) for key in IDENTITY if key != "captions.engine"}
    assert plan_hash(base) not in hashes.values()
    assert len(set(hashes.values())) == len(hashes)
    assert {plan_hash(changed(base, key)) for key in EXECUTION} == {plan_hash(base)}
