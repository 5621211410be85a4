"""Fixtures of the tests of the `glyphs` renderer."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that tests share, so that a drawing is rasterised once."""
    return tmp_path_factory.mktemp("glyphs-cache")


@pytest.fixture(autouse=True)
def cache(shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of tests in the user's cache."""
    monkeypatch.setenv("SYNTHCLIP_CACHE", str(shared_cache))
    return shared_cache
