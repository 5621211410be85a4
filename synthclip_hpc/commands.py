"""What the commands' own options are, and how a command line becomes a run and a configuration.

Order of precedence: dataclass defaults < the run's frozen configuration < preset < `config=FILE` < command line.
"""

# ruff: noqa: UP045
# Optional[X]: see config.py.

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Optional, TypeVar

from synthclip_hpc.arguments import field_types, normalise, parse, value_of
from synthclip_hpc.config import (
    BUILT_IN_BANKS,
    BUILT_IN_MODELS,
    BUILT_IN_PROMPTS,
    BUILT_IN_TRAIN_MODELS,
    RunConfig,
    get,
    with_values,
)
from synthclip_hpc.config_files import apply_file, apply_preset
from synthclip_hpc.errors import UserError
from synthclip_hpc.paths import path_of
from synthclip_hpc.run import Run, resolve_run


@dataclass(frozen=True)
class RunOptions:
    """Options of every command that looks at a run."""

    run: Optional[str] = None
    """Run directory (default: $SYNTHCLIP_RUN, else the run one stands in, else runs/default)."""


@dataclass(frozen=True)
class ConfigOptions(RunConfig, RunOptions):
    """Options of the commands that take a configuration: all its keys are options too."""

    config: Optional[str] = None
    """TOML file with configuration keys."""


@dataclass(frozen=True)
class LaunchOptions(ConfigOptions):
    """Options of the commands that start work."""

    cluster: str = "auto"
    """Where to work: `local`, `slurm`, `onemachine`, or `auto` (Slurm when sbatch is on the PATH)."""
    wait: bool = False
    """Follow the work until it ends."""
    dry_run: bool = False
    """Print the plan and the sbatch script; write nothing, submit nothing."""
    assume_ended: bool = False
    """Treat earlier submissions as ended when the queue cannot be asked."""
    estimate_from: Optional[str] = None
    """Another run, whose measured speed `dry-run` goes by while this run has done nothing of the kind."""


@dataclass(frozen=True)
class SubmitOptions(LaunchOptions):
    """Options of `submit`."""

    stage: str = ""
    """Stage or stages to do: concepts, captions, ... (comma-separated), or all."""
    preset: Optional[str] = None
    """Named configuration to start from."""
    upstream: bool = False
    """Also submit the stages that must come first."""
    yes: bool = False
    """Submit without asking, however many GPU hours it may take."""


# Keys whose value may be a path, each with the names that mean something else.
_PATH_KEYS = {
    "concepts.bank": BUILT_IN_BANKS,
    "concepts.exclude": BUILT_IN_BANKS,
    "captions.prompt": BUILT_IN_PROMPTS,
    "captions.model": BUILT_IN_MODELS,
    "balance.source": (),
    "render.diffusion.model": (),
    "render.reuse": (),
    "train.model": BUILT_IN_TRAIN_MODELS,
    "train.init": (),
}

C = TypeVar("C", bound=ConfigOptions)
R = TypeVar("R", bound=RunOptions)


def parse_run_options(cls: type[R], argv: list[str], prog: str, description: str) -> R:
    """Parse the options of a command that only looks at a run."""
    return parse(cls, normalise(argv, field_types(cls)), cls(), prog, description)


def parse_config_options(cls: type[C], argv: list[str], prog: str, description: str) -> tuple[Run, C]:
    """Parse the options of a command that takes a configuration, over the run's frozen one if there is one."""
    tokens = normalise(argv, field_types(cls))
    run = resolve_run(value_of("run", tokens))
    run.check_place()
    default = cls()
    if "--help" not in tokens:
        if run.exists():
            default = dataclasses.replace(
                default, **{item.name: getattr(run.load_config(), item.name) for item in dataclasses.fields(RunConfig)}
            )
        preset = value_of("preset", tokens)
        if preset is not None:
            default = apply_preset(default, preset)
        file = value_of("config", tokens)
        if file is not None:
            default = apply_file(default, path_of("config", file))
    return run, _anchored(parse(cls, tokens, default, prog, description))


def _anchored(options: C) -> C:
    """Make the paths in the configuration absolute: a run must not depend on where a later command is typed."""
    changes: dict[str, Any] = {}
    for key, built_in in _PATH_KEYS.items():
        name = get(options, key)
        if name is None or name in built_in:
            continue
        path = path_of(key, name)
        if path.exists() or (key == "balance.source" and "{" in name):
            changes[key] = str(path.absolute())
    kind, _, file = (options.concepts.subset or "").partition("=")
    # Captions may be a list of files with braces, which is no file itself.
    if kind == "captions" and ((path := path_of("concepts.subset", file)).exists() or "{" in file):
        changes["concepts.subset"] = f"captions={path.absolute()}"
    for key, text in (("merge.sources", options.merge.sources), ("train.data", options.train.data)):
        if text is not None:
            from synthclip_hpc.dataset.sources import anchored

            changes[key] = anchored(text, key)
    profile = options.slurm.profile
    if profile is not None and ("/" in profile or profile.endswith(".toml")):
        path = path_of("slurm.profile", profile)
        if path.exists():
            changes["slurm.profile"] = str(path.absolute())
    return with_values(options, changes)


def config_of(options: ConfigOptions) -> RunConfig:
    """Return the configuration part of a command's options."""
    return RunConfig(**{item.name: getattr(options, item.name) for item in dataclasses.fields(RunConfig)})


def existing_run(given: str | None) -> Run:
    """Find a run that must exist. Raises UserError with the command that starts one."""
    run = resolve_run(given)
    run.check_place()
    if not run.exists():
        run.load_config()  # says what is wrong
        raise UserError(f"run={run.path}: no run here")
    return run
