"""Phase `coverage`: the report of the stage, a last look at it as a whole. One task, one JSON.

What came in is read and matched once more, as most of it is in no later file: duplicates and captions without a match
are gone. That also tells whether the counts of the phases before are right: each caption is counted twice, by those who
did the work and here, and a report that does not add up is none. Memory: that of one task of `match`, and three numbers
a concept.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sharding.files import replace_file, write_file
from sharding.marker import Counts
from sharding.plan import Plan, ShardRange, load_plan
from sharding.seal import load_seal
from synthclip_hpc.config import RunConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.stages.balance.accounting import DUPLICATE, Accounting
from synthclip_hpc.stages.balance.count import read_counts
from synthclip_hpc.stages.balance.cut import selection_of
from synthclip_hpc.stages.balance.inputs import open_captions
from synthclip_hpc.stages.balance.match import NO_MATCH, findable
from synthclip_hpc.stages.balance.report import SUFFIX, BalanceReport, read_report
from synthclip_hpc.stages.balance.score import TAU
from synthclip_hpc.stages.balance.shared import match_lists, open_files
from synthclip_hpc.stages.phase import Estimate, Phase, ShardTask, Sources

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sharding.directory import PhaseDirectory
    from synthclip_hpc.curation.coverage import CoverageTally
    from synthclip_hpc.curation.selection import Cut
    from synthclip_hpc.run import Run

PICTURE = "report/coverage.png"
"""In the run directory, where matplotlib is installed: a by-product that can be drawn again at any time."""
_CHUNK_ROWS = 1 << 18


def layout(config: RunConfig, sources: Sources) -> Plan:
    """One task for everything."""
    return Plan(
        stage="balance", phase="coverage", kind="reduce", num_items=1, shard_items=1, suffix=SUFFIX, identity={}
    )


@contextmanager
def open_reporter(config: RunConfig, run: Run, plan: Plan) -> Iterator[Callable[[ShardTask], None]]:
    """Yield the function that writes the report."""

    def process(task: ShardTask) -> None:
        task.resumed(0)
        report = make_report(config, run, task.safe_point)
        path = task.directory.staged_path(0, task.attempt, plan.suffix)
        write_file(path, report.to_bytes())
        _draw(report, run.path / PICTURE, task)
        task.publish(path, Counts(1, 1, 0, {}))

    yield process


def make_report(config: RunConfig, run: Run, safe_point: Callable[[], None]) -> BalanceReport:
    """Read everything and return the report; `safe_point` is called every few hundred thousand captions.

    Raises ValueError when the counts do not add up, UserError when captions from elsewhere have changed or are gone.
    """
    import pyarrow.parquet as pq

    from synthclip_hpc.curation.coverage import CoverageTally

    table = pq.read_table(run.phase("concepts", "read").data_path(0, ".parquet"), columns=["concept", "reject_reason"])
    concepts, reasons = (column.to_pylist() for column in table.columns)
    matched, cut_seal = load_plan(run.phase("balance", "match")), load_seal(run.phase("balance", "cut"))
    selection = selection_of(run)
    if matched is None or selection is None or cut_seal is None:
        raise UserError(f"balance/coverage looks at a finished set; run: resume run={run.path}")
    before, after = (CoverageTally(len(concepts), all_distinct=True) for _ in range(2))
    rejects = _add_raw(before, findable(concepts, reasons), config, run, matched, safe_point)
    scored = _add_kept(after, selection.cut, run, safe_point)
    _, facts = read_counts(run)
    if not config.balance.keep_unmatched:
        rejects[NO_MATCH] += before.unmatched
    rejects[DUPLICATE] += facts["duplicates"]
    kept = cut_seal.counts.done
    accounting = Accounting(
        captions_in=matched.num_items,
        rejects={reason: rejects[reason] for reason in sorted(rejects) if rejects[reason]},
        usable=facts["usable"],
        not_selected=scored - after.captions,
        kept=kept,
    )
    accounting.check()
    tau = selection.cut.tau
    return BalanceReport(
        accounting,
        tau if config.balance.mode == "balanced" and tau < sys.float_info.max else None,
        len(concepts),
        facts["never_matching"],
        {"before": before.coverage(concepts, distinct=facts["usable"]), "after": after.coverage(concepts)},
    )


def _add_raw(
    tally: CoverageTally,
    entries: Sequence[str],
    config: RunConfig,
    run: Run,
    matched: Plan,
    safe_point: Callable[[], None],
) -> Counter[str]:
    """Add all captions that came in with a text; return why the others have none."""
    from synthclip_hpc.curation.matching import Matcher

    matcher, read = Matcher(entries, config.balance.case), open_captions(config, run, matched)
    rejects = Counter[str]()
    for shard in range(matched.num_shards):
        safe_point()
        part = matched.shard(shard)
        captions, found = read(part.start, part.stop)
        rejects.update(found)
        texts = captions.column("caption").to_pylist()
        tally.add(texts, *matcher.match(texts))
    return rejects


def _add_kept(tally: CoverageTally, cut: Cut, run: Run, safe_point: Callable[[], None]) -> int:
    """Add all captions that the cut keeps; return how many there were to select from."""
    import pyarrow as pa

    from synthclip_hpc.curation.selection import is_kept

    usable = 0
    with open_files(run, "score") as files:
        for file in files:
            rows = file.rows(0, None).select([TAU, "caption_id", "caption", "matches"])
            for start in range(0, rows.num_rows, _CHUNK_ROWS):
                safe_point()
                chunk = rows.slice(start, _CHUNK_ROWS)
                kept = is_kept(cut, chunk.column(TAU).to_numpy(), chunk.column("caption_id").to_numpy())
                usable += chunk.num_rows
                chunk = chunk.filter(pa.array(kept)).combine_chunks()
                tally.add(chunk.column("caption").to_pylist(), *match_lists(chunk))
            file.forget()
    return usable


def _draw(report: BalanceReport, path: Path, task: ShardTask) -> None:
    from synthclip_hpc.curation.coverage_plots import count_histogram_png

    try:
        picture = count_histogram_png(report.sets, report.threshold)
    except UserError as error:
        task.journal.event("no_picture", shard=0, message=str(error))
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, picture)


def report_of(run: Run) -> BalanceReport | None:
    """Return the report of a run; None when its balancing is not finished."""
    directory = run.phase("balance", "coverage")
    return None if load_seal(directory) is None else read_report(directory.data_path(0, SUFFIX))


def summary(directory: PhaseDirectory, plan: Plan) -> list[str]:
    """Return what a command tells of the finished stage."""
    return read_report(directory.data_path(0, plan.suffix)).lines()


def inspect(run: Run, path: Path, plan: Plan, shard: ShardRange) -> Counts:
    """Look whether a finished report is whole, and adds up."""
    read_report(path)
    return Counts(1, 1, 0, {})


def estimate(config: RunConfig) -> Estimate:
    """Return the cost of the one task."""
    return Estimate((1e4, 1e5), (1, 1200), "measured: 100,000 captions a second, one core")


def upstream(config: RunConfig) -> tuple[tuple[str, str], ...]:
    """Return all that is read, and `cut`: the last word on what was kept."""
    raw = () if config.balance.source else (("captions", "write"),)
    return (("concepts", "read"), *raw, *(("balance", name) for name in ("match", "count", "score", "select", "cut")))


PHASE = Phase(
    stage="balance",
    name="coverage",
    kind="reduce",
    upstream=upstream,
    layout=layout,
    open=open_reporter,
    inspect=inspect,
    estimate=estimate,
    promise=lambda config: "bytes",
    summary=summary,
)
