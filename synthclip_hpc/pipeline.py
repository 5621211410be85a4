"""The phases of the stages."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from synthclip_hpc.errors import UserError

if TYPE_CHECKING:
    from synthclip_hpc.stages.phase import Phase


def phases_of(stage: str) -> tuple[Phase, ...]:
    """Return the phases of a stage, in order."""
    module = importlib.import_module(f"synthclip_hpc.stages.{stage}")
    phases: tuple[Phase, ...] = module.PHASES
    return phases


def find_phase(stage: str, name: str) -> Phase:
    """Return one phase; the names come from our own records, so an unknown one is a newer version's."""
    for phase in phases_of(stage):
        if phase.name == name:
            return phase
    raise UserError(f"phase {stage}/{name} is unknown to this version; use the synthclip-hpc that made the run")
