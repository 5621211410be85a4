"""The stages in order, and which of them a command means."""

from __future__ import annotations

from synthclip_hpc.errors import UserError, nearest

STAGES = ("concepts", "captions", "balance", "render", "merge", "train", "eval", "report")


def parse_stages(text: str) -> list[str]:
    """Turn `stage=captions,balance` or `stage=all` into stages in pipeline order; an unknown one names the nearest."""
    if text == "all":
        return list(STAGES)
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError(f"stage is missing: name one or more of {', '.join(STAGES)}, or all; e.g. stage=captions")
    for name in names:
        if name not in STAGES:
            raise UserError(f"stage={name}: no such stage{nearest(name, STAGES)}. Valid: {', '.join(STAGES)}, all")
    return [stage for stage in STAGES if stage in names]
