"""What `submit` and `resume` print: what was started, what comes later, what has ended."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from synthclip_hpc.launch.chain import Link, is_sealed
from synthclip_hpc.launch.launching import Started
from synthclip_hpc.launch.replacing import Replacement
from synthclip_hpc.run import Run
from synthclip_hpc.stages import concepts
from synthclip_hpc.summaries import summaries


def print_started(run: Run, started: Started) -> None:
    """Print what became of each phase, where the logs are, and how to look on."""
    print("\n".join(started.lines))
    if (bank := concepts.told(run)) is not None:
        print(f"bank:   {bank}")
    if not started.submissions:
        return
    latest = started.submissions[0]
    at = shlex.quote(str(run.path))
    print(f"logs:   tail -F {shlex.quote(str(run.logs(latest.stage)))}/{latest.name}_*.log")
    print(f"status: python -m synthclip_hpc.status run={at}")
    print(f"stop:   python -m synthclip_hpc.cancel run={at}      go on: python -m synthclip_hpc.resume run={at}")


def print_later(run: Run, links: Sequence[Link], later: Sequence[str], cluster: str, *, wait: bool = False) -> None:
    """Print which phases could not be laid out yet, and what lays them out: `wait`, this command itself.

    `links` is what could be. Of a stage without any, `resume` would know nothing.
    """
    stages, at = dict.fromkeys(key.partition("/")[0] for key in later), f"run={shlex.quote(str(run.path))}"
    if set(stages) <= {link.phase.stage for link in links}:
        then = f"python -m synthclip_hpc.resume {at}"
    else:
        then = f"python -m synthclip_hpc.submit stage={','.join(stages)} {at} cluster={cluster}"
    if wait:
        then = "this command goes on with it"
    for key in later:
        print(f"{key}: not yet, its size is known when what comes before it is done; then: {then}")


def print_replaced(replacements: Sequence[Replacement]) -> None:
    """Print which plans give way, and why they may."""
    for one in replacements:
        print(one.told())


def print_remarks(run: Run, links: Sequence[Link]) -> None:
    """Print what is to be said of the plans of phases that are not finished: those have it in their summary."""
    for link in links:
        if link.phase.remarks is not None and not is_sealed(run, link):
            for line in link.phase.remarks(link.plan):
                print(f"{link.phase.key}: {line}")


def print_finished(run: Run, stages: Sequence[str]) -> None:
    """Print what the finished phases of the stages have to tell."""
    for line in summaries(run, stages):
        print(line)
