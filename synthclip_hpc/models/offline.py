"""No network: what is missing on this machine is told, never fetched."""

from __future__ import annotations

import os
import sys

_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


def go_offline() -> None:
    """Keep Hugging Face's libraries off the network, in this process and in those that it starts.

    They read the environment when they are imported; one that is imported already is told.
    """
    os.environ.update(_OFFLINE)
    if (constants := sys.modules.get("huggingface_hub.constants")) is not None:
        constants.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]
