"""`python -m synthclip_hpc.coverage run=RUN`: which concepts a set of captions covers, before and after balancing.

With `source=PATH` any captions, against the bank of the configuration: the paper's Table 5 for data of one's own. The
figures go to `coverage.json` and `coverage.png` in `out` (default: `report/` of the run, or the folder one stands in).
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

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
    """Captions to look at (Parquet, TSV, text, a folder of them; .gz, .zst) in place of a run's."""
    preset: Optional[str] = None
    """Named configuration to start from."""
    out: Optional[str] = None
    """Folder for coverage.json and coverage.png."""


def coverage(argv: list[str]) -> int:
    """Measure, print the main figures, write the files; return the exit code."""
    run, options = parse_config_options(CoverageOptions, argv, PROG, "Tell which concepts a set of captions covers.")
    from synthclip_hpc.curation.coverage import coverage_table
    from synthclip_hpc.curation.coverage_plots import count_histogram_png
    from synthclip_hpc.curation.matching import never_matching
    from synthclip_hpc.stages.phase import Sources

    config, threshold = config_of(options), None
    if options.source is not None:
        bank = Sources(config).bank
        concepts = bank.concepts
        sets = {Path(options.source).name: of_source(config, bank, options.source)}
        never = len(never_matching(concepts))
        out = Path(options.out or ".")
    else:
        sets, threshold, never = of_run(run)
        out = Path(options.out) if options.out else run.path / "report"
    print(coverage_table(sets))
    print(f"concepts that no caption can name (a mark inside): {never:,}")
    out.mkdir(parents=True, exist_ok=True)
    facts = {
        "threshold": threshold,
        "never_matching": never,
        "sets": {name: one.to_json() for name, one in sets.items()},
    }
    (out / "coverage.json").write_text(json.dumps(facts, ensure_ascii=False, indent=1, allow_nan=False))
    (out / "coverage.png").write_bytes(count_histogram_png(sets, threshold))
    print(f"\nwritten: {out / 'coverage.json'}, {out / 'coverage.png'}")
    return 0


def of_run(run: Run) -> tuple[dict[str, Coverage], float | None, int]:
    """Measure what a run's balancing was given (distinct, with a match) and what it kept.

    Also returns its threshold, if it has one, and how many concepts no caption can name.

    Raises UserError when the run has not balanced yet.
    """
    import pyarrow.parquet as pq

    from sharding.plan import load_plan
    from sharding.seal import load_seal
    from synthclip_hpc.curation.coverage import CoverageTally
    from synthclip_hpc.stages.balance.count import read_counts
    from synthclip_hpc.stages.balance.cut import selection_of
    from synthclip_hpc.stages.balance.shared import match_lists, open_files

    cut = run.phase("balance", "cut")
    selection, plan = selection_of(run), load_plan(cut)
    if selection is None or plan is None or load_seal(cut) is None:
        raise UserError(
            f"run={run.path}: not balanced yet; run: python -m synthclip_hpc.submit stage=balance run={run.path}, or "
            "name captions with source=PATH"
        )
    table = pq.read_table(run.phase("concepts", "read").data_path(0, ".parquet"), columns=["concept", "concept_id"])
    concepts, ids = table.column("concept").to_pylist(), table.column("concept_id").to_numpy()
    before, after = (CoverageTally(len(concepts), all_distinct=True) for _ in range(2))
    with open_files(run, "unique") as files:
        for file in files:
            rows = file.rows(0, None)
            before.add(rows.column("caption").to_pylist(), *match_lists(rows))
    for shard in range(plan.num_shards):
        rows = pq.read_table(cut.data_path(shard, plan.suffix), columns=["caption", "matched_concept_ids"])
        after.add(rows.column("caption").to_pylist(), *_places(rows.column("matched_concept_ids"), ids))
    tau = selection.cut.tau
    is_count = run.load_config().balance.mode == "balanced" and tau < sys.float_info.max
    shown = tau if is_count else None
    _, facts = read_counts(run)
    sets = {"before": before.coverage(concepts), "after": after.coverage(concepts)}
    return sets, shown, facts["never_matching"]


def _places(lists: Any, ids: Any) -> tuple[Any, Any]:
    """Turn lists of concept ids into (offsets, places in the bank)."""
    import numpy as np

    lists = lists.combine_chunks()
    offsets = lists.offsets.to_numpy().astype(np.int64)
    order = np.argsort(ids)
    return offsets - offsets[0], order[np.searchsorted(ids, lists.flatten().to_numpy(), sorter=order)]


def of_source(config: RunConfig, bank: Bank, path: str) -> Coverage:
    """Measure captions from elsewhere against a bank."""
    from synthclip_hpc.curation.coverage import CoverageTally
    from synthclip_hpc.curation.matching import Matcher
    from synthclip_hpc.curation.sources import find_source, refuse_unusable
    from synthclip_hpc.stages.balance.match import findable

    matcher, source = Matcher(findable(bank.concepts, bank.reject_reasons), config.balance.case), find_source(path)
    tally, rejects = CoverageTally(len(bank.concepts)), Counter[str]()
    for start in range(0, source.num_rows, config.balance.match_items):
        captions, found = source.read(start, min(source.num_rows, start + config.balance.match_items))
        rejects.update(found)
        texts = captions.column("caption").to_pylist()
        tally.add(texts, *matcher.match(texts))
    refuse_unusable(path, source.num_rows, rejects)
    for reason, count in sorted(rejects.items()):
        print(f"left out: {count:,} rows, {reason}")
    return tally.coverage(bank.concepts)


def main() -> int:
    """Entry point."""
    return run_command(coverage)


if __name__ == "__main__":
    sys.exit(main())
