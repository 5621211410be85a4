"""`python -m synthclip_hpc.failures run=...`: what failed, grouped, whom each group follows, and what to type next."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from synthclip_hpc.commands import RunOptions, existing_run, parse_run_options
from synthclip_hpc.errors import run_command

SCHEMA = 1


@dataclass(frozen=True)
class FailuresOptions(RunOptions):
    """Options of `failures`."""

    json: bool = False
    """Print as JSON (schema 1)."""


def failures(argv: list[str]) -> int:
    """Print the groups; return the exit code."""
    prog = "python -m synthclip_hpc.failures"
    options = parse_run_options(FailuresOptions, argv, prog, "Show what failed in a run, grouped.")
    run = existing_run(options.run)
    run.load_config()
    from synthclip_hpc.triage.groups import blamed_nodes, exclude_command, report_failures

    groups = report_failures(run)
    blamed = blamed_nodes(groups)
    if options.json:
        import json

        told = [one.to_json() for one in groups]
        nodes = {node: list(ids) for node, ids in blamed.items()}
        print(json.dumps({"schema": SCHEMA, "run": str(run.path), "groups": told, "blamed_nodes": nodes}, indent=1))
        return 0
    if not groups:
        print(f"run={run.path}: no failures in its journals; status: python -m synthclip_hpc.status run={run.path}")
    for one in groups:
        print("\n".join(one.lines()) + "\n")
    if blamed:
        by = [f"{node} (group {', '.join(ids)})" for node, ids in blamed.items()]
        print(f"nodes to leave alone: {'; '.join(by)}\n  {exclude_command(run, list(blamed))}")
    return 0


def main() -> int:
    """Entry point."""
    return run_command(failures)


if __name__ == "__main__":
    sys.exit(main())
