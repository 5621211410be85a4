from __future__ import annotations

from tests.synthclip_hpc.conftest import app, at_once, nothing_remembered

__all__ = ["app", "at_once", "nothing_remembered"]
