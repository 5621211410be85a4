"""Fixtures of the tests of the package slurm."""

from __future__ import annotations

from tests.fake_slurm import fake_slurm

__all__ = ["fake_slurm"]
