"""The caption engines there are, by the name that `captions.engine` gives."""

from __future__ import annotations

from synthclip_hpc.captioning.engine import Engine
from synthclip_hpc.config import CaptionsConfig
from synthclip_hpc.errors import UserError, nearest

ENGINES = ("template",)


def check_engine(config: CaptionsConfig) -> None:
    """Raise UserError when the configuration names no engine there is."""
    if config.engine not in ENGINES:
        raise UserError(
            f"captions.engine={config.engine}: no such engine{nearest(config.engine, ENGINES)}. "
            f"Valid: {', '.join(ENGINES)}"
        )


def open_engine(config: CaptionsConfig) -> Engine:
    """Load the configured engine."""
    check_engine(config)
    from synthclip_hpc.captioning.template import TemplateEngine

    return TemplateEngine(items_per_s=config.template.items_per_s)
