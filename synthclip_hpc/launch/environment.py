"""Whose Slurm is asked: a submission's own cluster, whatever the shell points to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from synthclip_hpc.submissions import Submission

_KEYS = ("SLURM_CONF",)


def present() -> dict[str, str | None]:
    """Return what a submission must record to be found again."""
    return {key: os.environ.get(key) for key in _KEYS}


@contextmanager
def environment_of(environment: Mapping[str, str | None]) -> Iterator[None]:
    """Let Slurm's tools talk to the cluster of `environment`, and to the shell's again afterwards."""
    before = {key: os.environ.get(key) for key in environment}
    _set(environment)
    try:
        yield
    finally:
        _set(before)


def use_latest(submissions: Sequence[Submission]) -> None:
    """Point this process at the cluster of the latest Slurm submission, if there is one."""
    for submission in reversed(submissions):
        if submission.cluster == "slurm":
            _set(submission.environment)
            return


def by_cluster(submissions: Sequence[Submission]) -> list[list[Submission]]:
    """Group Slurm submissions by the cluster they went to."""
    groups: dict[tuple[tuple[str, str | None], ...], list[Submission]] = {}
    for submission in submissions:
        if submission.cluster == "slurm":
            groups.setdefault(tuple(sorted(submission.environment.items())), []).append(submission)
    return list(groups.values())


def _set(environment: Mapping[str, str | None]) -> None:
    for key, value in environment.items():
        if value is None:
            os.environ.pop(key, None)
        else:
            os.environ[key] = value
