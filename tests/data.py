"""The real data that some tests and benchmarks read: never shipped, looked for beside the repository."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder() -> Path:
    """Return the folder: `SYNTHCLIP_TEST_DATA`, else shared/data beside the repository; it may not exist."""
    return Path(os.environ.get("SYNTHCLIP_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
