"""Which concepts the captions name, before and after balancing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from synthclip_hpc.reporting.blocks import Block, Figure, Figures, Plot, Row, Section, Table, Text, Value
from synthclip_hpc.reporting.plots import PALETTE, draw, legend, plain_number
from synthclip_hpc.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from synthclip_hpc.curation.coverage import Coverage
    from synthclip_hpc.stages.balance.report import BalanceReport

_LEAST_SHOWN = 0.6
"""Below one concept: a logarithmic axis has no zero."""


def coverage_section(run: Run) -> Section | None:
    """Return the section; None when the captions are not balanced. Raises UserError for a damaged report."""
    report = _report_of(run)
    if report is None:
        return None
    before, after = report.sets["before"], report.sets["after"]
    items = (
        Figure(f"{after.captions:,}", "captions kept", f"of {report.accounting.captions_in:,} that came in"),
        Figure(f"{after.seen[1]:,}", "concepts named", f"of {report.concepts:,} in the bank"),
        Figure(
            f"{after.effective_concepts:,.0f}",
            "effective concepts",
            f"{before.effective_concepts:,.0f} before balancing",
        ),
        Figure(f"{after.mean_words:.1f}", "words a caption"),
    )
    blocks: list[Block] = [Figures(items), _plot(report), _table(before, after), _accounting(report)]
    if report.never_matching:
        blocks.append(Text(f"{report.never_matching:,} concepts can never be named by MetaCLIP's rule of matching."))
    return Section("coverage", "Captions and concepts", tuple(blocks))


def coverage_figure(run: Run, key: str) -> float | None:
    """Return one of Table 5's figures for the balanced captions; None when there are none."""
    report = _report_of(run)
    if report is None:
        return None
    after = report.sets["after"]
    return after.mean_count if key == "mean_count" else after.seen[int(key.removeprefix("seen_"))]


def bank_size(run: Run) -> int | None:
    """Return how many concepts the bank of a balanced run has."""
    report = _report_of(run)
    return None if report is None else report.concepts


def _report_of(run: Run) -> BalanceReport | None:
    from synthclip_hpc.stages.balance.coverage import report_of

    return report_of(run)


def _plot(report: BalanceReport) -> Plot:
    def paint(axes: Axes) -> None:
        axes.set_xscale("log")
        axes.set_yscale("log")
        end = 2.0
        for name, colour in (("before", "c6"), ("after", "c1")):
            found = report.sets[name]
            bins = [one for one in found.count_histogram if one.first > 0]
            if not bins:
                continue
            edges = [*(one.first for one in bins), bins[-1].last + 1]
            heights = [max(one.concepts, _LEAST_SHOWN / 2) for one in bins]
            label = f"{name} balancing: {found.captions:,} captions"
            filled: dict[str, Any] = (
                {"fill": True, "alpha": 0.35, "linewidth": 0} if name == "before" else {"linewidth": 2.2}
            )
            axes.stairs(heights, edges, baseline=_LEAST_SHOWN / 2, color=PALETTE[colour], label=label, **filled)
            end = max(end, edges[-1])
        if report.threshold is not None:
            axes.axvline(
                report.threshold,
                color=PALETTE["c2"],
                linestyle=(0, (4, 3)),
                linewidth=1.4,
                label=f"threshold t = {report.threshold:,.4g}",
            )
            end = max(end, 1.3 * report.threshold)
        axes.set_xlim(1, end)
        axes.set_ylim(bottom=_LEAST_SHOWN)
        axes.set_xlabel("captions that name a concept (bins 1, 2–3, 4–7, …)")
        axes.set_ylabel("concepts")
        axes.xaxis.set_major_formatter(plain_number)
        axes.yaxis.set_major_formatter(plain_number)
        axes.minorticks_off()
        legend(axes, 3, columns=2)

    after = report.sets["after"]
    alt = f"Concepts by how many captions name them, before and after balancing; {after.seen[1]:,} are named after it."
    return draw("coverage", "How often concepts are named", alt, paint)


def _table(before: Coverage, after: Coverage) -> Table:
    pairs = [
        ("captions", f"{before.captions:,}", f"{after.captions:,}"),
        ("distinct captions", f"{before.distinct:,}", f"{after.distinct:,}"),
        ("captions that name no concept", f"{before.unmatched:,}", f"{after.unmatched:,}"),
        ("words a caption", f"{before.mean_words:.1f}", f"{after.mean_words:.1f}"),
        *(
            (
                f"concepts named {'once' if k == 1 else f'{k} times'} or more",
                f"{before.seen[k]:,}",
                f"{after.seen[k]:,}",
            )
            for k in before.seen
        ),
        ("mean count of those named 25 times or more", f"{before.mean_count:,.0f}", f"{after.mean_count:,.0f}"),
        ("entropy over concepts (bits)", f"{before.entropy_bits:.2f}", f"{after.entropy_bits:.2f}"),
        *(
            (f"long tail: {name}", "not in the bank" if count is None else f"{count:,}", _count(after.long_tail[name]))
            for name, count in before.long_tail.items()
            if count is not None
        ),
    ]
    rows = tuple(Row((Value(what), Value(first), Value(second))) for what, first, second in pairs)
    return Table("coverage-figures", "Captions before and after balancing", ("", "before", "after"), rows)


def _count(count: int | None) -> str:
    return "not in the bank" if count is None else f"{count:,}"


def _accounting(report: BalanceReport) -> Table:
    told = report.accounting
    pairs = [
        ("came in", told.captions_in),
        *((f"rejected: {reason.replace('_', ' ')}", number) for reason, number in told.rejects.items()),
        ("usable, not selected", told.not_selected),
        ("kept", told.kept),
    ]
    rows = tuple(Row((Value(what), Value(f"{number:,}"))) for what, number in pairs)
    return Table("captions-accounting", "What became of every caption", ("", "captions"), rows, folded=True)
