"""`python -m synthclip_hpc.coverage run=RUN`: which concepts a set of captions covers, before and after balancing.

Of a run it prints what the last phase of `balance` found; nothing is computed again. With `source=PATH` it measures any
captions, against the bank of the configuration: the paper's Table 5 for data of one's own. The figures go to
`coverage.json` and `coverage.png` in `out` (of a run, only if it is given; else the folder one stands in).
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from synthclip_hpc.commands import ConfigOptions, config_of, parse_config_options
from synthclip_hpc.errors import UserError, run_command

if TYPE_CHECKING:
    from synthclip_hpc.captioning.banks.bank import Bank
    from synthclip_hpc.config import RunConfig
    from synthclip_hpc.curation.coverage import Coverage
    from synthclip_hpc.run import Run

PROG = "python -m synthclip_hpc.coverage"


# ruff: noqa: UP045
# Optional[X]: see config.py.
@dataclass(frozen=True)
class CoverageOptions(ConfigOptions):
    """Options of `coverage`."""

    source: Optional[str] = None
    """Captions to look at (Parquet, TSV, text, WebDataset, a folder of them; .gz, .zst) in place of a run's."""
    preset: Optional[str] = None
    """Named configuration to start from."""
    out: Optional[str] = None
    """Folder for coverage.json and coverage.png."""


def coverage(argv: list[str]) -> int:
    """Tell the main figures, write files where asked; return the exit code."""
    run, options = parse_config_options(CoverageOptions, argv, PROG, "Tell which concepts a set of captions covers.")
    if options.source is not None:
        _tell_source(config_of(options), options.source, Path(options.out or "."))
    else:
        _tell_run(run, Path(options.out) if options.out else None)
    return 0


def _tell_run(run: Run, out: Path | None) -> None:
    from synthclip_hpc.curation.coverage import coverage_table
    from synthclip_hpc.stages.balance.coverage import PICTURE, report_of
    from synthclip_hpc.stages.balance.report import SUFFIX

    report = report_of(run)
    if report is None:
        raise UserError(
            f"run={run.path}: not balanced yet; run: python -m synthclip_hpc.submit stage=balance run={run.path}, "
            f"or, where that has begun, python -m synthclip_hpc.resume run={run.path}; or name captions: source=PATH"
        )
    print("\n".join(report.lines()))
    print()
    print(coverage_table(report.sets), end="")
    print("before: all captions with a text; distinct are those that name a concept (or are kept without)\n")
    if out is not None:
        _write(out, report.to_bytes(), report.sets, report.threshold)
        return
    picture = run.path / PICTURE
    print(f"report: {run.phase('balance', 'coverage').data_path(0, SUFFIX)}")
    print(f"picture: {picture}" if picture.exists() else "picture: none, there was no matplotlib; out=FOLDER draws it")


def _tell_source(config: RunConfig, path: str, out: Path) -> None:
    from sharding.canonical import canonical_json
    from synthclip_hpc.curation.coverage import coverage_table
    from synthclip_hpc.curation.matching import never_matching
    from synthclip_hpc.stages.phase import Sources

    bank = Sources(config).bank
    sets = {Path(path).name: of_source(config, bank, path)}
    never = len(never_matching(bank.concepts))
    print(coverage_table(sets))
    print(f"concepts that no caption can name (a mark inside): {never:,}")
    facts = {"threshold": None, "never_matching": never, "sets": {name: one.to_json() for name, one in sets.items()}}
    _write(out, canonical_json(facts), sets, None)


def _write(out: Path, facts: bytes, sets: Mapping[str, Coverage], threshold: float | None) -> None:
    from synthclip_hpc.curation.coverage_plots import count_histogram_png

    out.mkdir(parents=True, exist_ok=True)
    (out / "coverage.json").write_bytes(facts)
    print(f"written: {out / 'coverage.json'}")
    # Where matplotlib is missing this says so, and the figures are there.
    (out / "coverage.png").write_bytes(count_histogram_png(sets, threshold))
    print(f"written: {out / 'coverage.png'}")


def of_source(config: RunConfig, bank: Bank, path: str) -> Coverage:
    """Measure captions from elsewhere against a bank."""
    from synthclip_hpc.curation.coverage import CoverageTally
    from synthclip_hpc.curation.matching import Matcher
    from synthclip_hpc.curation.sources import find_source, refuse_unusable
    from synthclip_hpc.stages.balance.match import findable

    matcher = Matcher(findable(bank.concepts, bank.reject_reasons), config.balance.case)
    source = find_source(path, "source")
    tally, rejects = CoverageTally(len(bank.concepts)), Counter[str]()
    for start in range(0, source.num_rows, config.balance.match_items):
        captions, found = source.read(start, min(source.num_rows, start + config.balance.match_items))
        rejects.update(found)
        texts = captions.column("caption").to_pylist()
        tally.add(texts, *matcher.match(texts))
    refuse_unusable(source, rejects)
    for reason, count in sorted(rejects.items()):
        print(f"left out: {count:,} rows, {reason}")
    return tally.coverage(bank.concepts)


def main() -> int:
    """Entry point."""
    return run_command(coverage)


if __name__ == "__main__":
    sys.exit(main())
