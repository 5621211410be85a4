"""Asking before much is spent: above `slurm.confirm_gpu_hours`, on a terminal; elsewhere `yes=true` is needed."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

from synthclip_hpc.config import RunConfig, SlurmConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.foresight.chain import forecast_chain, target_of
from synthclip_hpc.foresight.forecast import Forecast, total
from synthclip_hpc.foresight.words import between, hours, span
from synthclip_hpc.launch.chain import Link
from synthclip_hpc.launch.liveness import living
from synthclip_hpc.pipeline import find_phase
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import all_submissions


def check_keys(slurm: SlurmConfig) -> None:
    """Raise UserError for a limit or a power that cannot be."""
    for key, what in (("confirm_gpu_hours", "GPU hours above which to ask"), ("gpu_watts", "watts of one GPU")):
        value = getattr(slurm, key)
        if not 0 <= value < math.inf:
            raise UserError(
                f"slurm.{key}={value}: wanted the {what}, a number from 0; e.g. {getattr(SlurmConfig, key):g}"
            )


def confirm(
    run: Run,
    links: Sequence[Link],
    config: RunConfig,
    cluster: str,
    later: Sequence[str] = (),
    other: Run | None = None,
    *,
    assume_ended: bool = False,
) -> bool:
    """Tell whether to go on: asks when what would be submitted may cost more GPU hours than the limit.

    Nothing is asked for work that is submitted already. Raises UserError where nobody can be
    asked, as stdin is no terminal.
    """
    limit = config.slurm.confirm_gpu_hours
    if not any(_uses_gpus(key, config) for key in (*(link.phase.key for link in links), *later)):
        return True
    forecasts = forecast_chain(run, links, config, target_of(config, cluster), later=later, other=other)
    costly = [one for one in forecasts if one.gpu_hours[1] > 0]
    if _most(costly) <= limit:
        return True
    if run.exists():
        at_work = {f"{one.stage}/{one.phase}" for one in living(all_submissions(run), assume_ended=assume_ended)}
        costly = [one for one in costly if one.key not in at_work]
        if _most(costly) <= limit:
            return True
    told = _told(costly, limit)
    if not sys.stdin.isatty():
        raise UserError(
            f"{told}, and stdin is no terminal to ask at. Look at it with dry-run=true, then add yes=true "
            "(or raise slurm.confirm_gpu_hours)"
        )
    print(told)
    sys.stdout.write("Submit it? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().casefold() in ("y", "yes")


def _uses_gpus(key: str, config: RunConfig) -> bool:
    stage, name = key.split("/")
    return find_phase(stage, name).estimate(config).device == "GPU"


def _most(costly: Sequence[Forecast]) -> float:
    return sum(one.gpu_hours[1] for one in costly)


def _told(costly: Sequence[Forecast], limit: float) -> str:
    parts = ", ".join(f"{one.key} {between(one.gpu_hours, hours)} ({one.pace.source})" for one in costly)
    in_all = between(total([one.gpu_hours for one in costly]), hours)
    wall = between(total([one.wall_s for one in costly]), span)
    above = f"That may be above slurm.confirm_gpu_hours={limit:g}"
    return f"This would take {in_all} GPU hours over {wall}: {parts}. {above}"
