"""What commands tell of finished phases that have something to tell, such as the accounting of `balance`."""

from __future__ import annotations

from collections.abc import Sequence

from sharding.plan import load_plan
from sharding.seal import load_seal
from synthclip_hpc.errors import UserError
from synthclip_hpc.pipeline import phases_of
from synthclip_hpc.run import Run
from synthclip_hpc.stage_order import STAGES
from synthclip_hpc.stages.phase import Phase


def summaries(run: Run, stages: Sequence[str] = STAGES) -> list[str]:
    """Return the lines of all sealed phases of the stages, each group under its phase's name after an empty line."""
    groups = ((phase, summary_of(run, phase)) for stage in stages for phase in phases_of(stage))
    return [line for phase, lines in groups if lines for line in ("", f"{phase.key}:", *lines)]


def summary_of(run: Run, phase: Phase) -> list[str]:
    """Return what a phase has to tell; nothing before it is sealed.

    An output that is damaged is told as such and stops nothing: a summary comes last, after what was asked for.
    """
    directory = run.phase(phase.stage, phase.name)
    plan = load_plan(directory)
    if phase.summary is None or plan is None or load_seal(directory) is None:
        return []
    try:
        return phase.summary(directory, plan)
    except (UserError, OSError) as error:
        return [str(error)]
