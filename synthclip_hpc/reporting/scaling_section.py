"""How results grow: over several runs with the size of the data, as the paper's Figure 3, and over a run's epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from synthclip_hpc.reporting.blocks import Block, Plot, Row, Section, Table, Text, Value
from synthclip_hpc.reporting.paper import REFERENCE, paper_tables
from synthclip_hpc.reporting.plots import MARKERS, SERIES, Line, draw, draw_lines, plain_number
from synthclip_hpc.reporting.runs import Model, ToldRun
from synthclip_hpc.reporting.scores import TASK_TITLES, TASKS, Scores, paper_scores, paper_sets

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def scaling_section(told: Sequence[ToldRun]) -> Section | None:
    """Return the section; None for a single run with a single evaluated model."""
    blocks: list[Block] = []
    sized = _sized(told)
    if len(sized) > 1:
        blocks += _over_sizes(sized)
    elif len(told) > 1:
        blocks.append(Text("Fewer than two of the runs have an evaluated model of their own and data of a known size."))
    blocks += [plot for run in told if (plot := _over_epochs(run)) is not None]
    return Section("scaling", "Scaling", tuple(blocks)) if blocks else None


def _sized(told: Sequence[ToldRun]) -> list[tuple[int, Model]]:
    """Return (samples, the run's last model) of the runs that have both, the smallest first."""
    found = [(run.training_samples, run.last_model) for run in told]
    return sorted(((size, model) for size, model in found if size and model is not None), key=lambda one: one[0])


def _over_sizes(sized: Sequence[tuple[int, Model]]) -> list[Block]:
    """Return the gain of each task over the smallest run, ours solid, and the paper's dashed where sizes allow both."""
    smallest = sized[0][1].scores
    sizes = [float(size) for size, _ in sized]
    like_paper = [task for task in TASKS if _are_of_paper(task, [model.scores for _, model in sized])]
    gains = {task: _gains(task, [model.scores for _, model in sized], smallest) for task in TASKS}
    known = {task: values for task, values in gains.items() if values is not None}
    if not known:
        return [Text("The runs have no task in common on the same data sets, so there is no growth to show.")]
    lines = []
    for place, task in enumerate(TASKS):
        if task in known:
            lines.append(Line(TASK_TITLES[task], sizes, known[task], SERIES[place], MARKERS[place]))
    paper = [(size, paper_scores()[name]) for name, size in _paper_sizes().items()]
    with_paper = bool(like_paper) and max(sizes) >= paper[0][0]
    if with_paper:
        for task in like_paper:
            place = TASKS.index(task)
            values = [100 * (one.printed_means[task] / paper[0][1].printed_means[task] - 1) for _, one in paper]
            label = "the paper's" if task == like_paper[0] else ""
            lines.append(
                Line(label, [size for size, _ in paper], values, SERIES[place], MARKERS[place], True, 1.4, True)
            )

    def paint(axes: Axes) -> None:
        draw_lines(axes, lines)
        axes.set_xscale("log")
        axes.set_xlabel("training samples")
        axes.set_ylabel("gain over the smallest, %")
        axes.set_xticks(sorted({*sizes, *(size for size, _ in paper if with_paper)}))
        axes.xaxis.set_major_formatter(plain_number)
        axes.minorticks_off()

    note = (
        f"As Figure 3 of {REFERENCE}: each task's mean over the data sets that all runs have, in percent of the "
        "smallest run."
    )
    if with_paper:
        note += " Dashed: the paper's, computed from its Table 1, over its smallest data set"
        note += "." if len(like_paper) == len(TASKS) else ", where all runs were evaluated on its data sets as it was."
    names = ", ".join(model.title for _, model in sized)
    plot = draw(
        "scaling",
        "Gain with the size of the data",
        f"Gain by task over {sized[0][1].title} for {names}.",
        paint,
        note=note,
    )
    rows = [
        Row(
            (
                Value(model.title),
                Value(f"{size:,}"),
                *(Value("—" if task not in known else f"{known[task][place]:+.1f}") for task in TASKS),
            ),
            "ours" if place == len(sized) - 1 else "",
        )
        for place, (size, model) in enumerate(sized)
    ]
    head = ("Model", "samples", *(TASK_TITLES[task] for task in TASKS))
    return [plot, Table("scaling", "Gain over the smallest run, in percent", head, tuple(rows))]


def _gains(task: str, models: Sequence[Scores], smallest: Scores) -> list[float] | None:
    """Return each model's gain in percent over the paper's data sets, or those that all have; None without any."""
    common = [one for one in smallest.by_set.get(task, {}) if all(model.of(task, one) is not None for model in models)]
    if _are_of_paper(task, models):
        common = list(paper_sets()[task])
    base = smallest.mean(task, common)
    means = [model.mean(task, common) for model in models]
    if not base or any(mean is None for mean in means):
        return None
    return [100 * ((mean or 0.0) / base - 1) for mean in means]


def _are_of_paper(task: str, models: Sequence[Scores]) -> bool:
    """Tell whether all have the paper's figures of a task."""
    return all(model.mean(task, paper_sets()[task]) is not None for model in models)


def _over_epochs(told: ToldRun) -> Plot | None:
    """Return each task and data set against the epoch; None unless several checkpoints were evaluated."""
    models = sorted((model for model in told.models if model.epoch is not None), key=lambda model: model.epoch or 0)
    if len(models) < 2:
        return None
    epochs = [float(model.epoch or 0) for model in models]
    lines = []
    keys = [(task, measure) for task in TASKS for measure in models[-1].scores.by_set.get(task, {})]
    for place, (task, measure) in enumerate(keys[: 2 * len(SERIES)]):
        values = [model.scores.of(task, measure) for model in models]
        if all(value is not None for value in values):
            style = place % len(SERIES)
            label = f"{measure.dataset}, {TASK_TITLES[task].lower()}"
            lines.append(
                Line(
                    label,
                    epochs,
                    [value or 0.0 for value in values],
                    SERIES[style],
                    MARKERS[style],
                    place >= len(SERIES),
                )
            )
    if not lines:
        return None

    def paint(axes: Axes) -> None:
        draw_lines(axes, lines)
        axes.set_xlabel("epoch")
        axes.set_ylabel("percent")
        axes.set_ylim(bottom=0)
        axes.set_xticks(epochs)

    alt = f"Results of {len(models)} checkpoints after {', '.join(f'{epoch:.0f}' for epoch in epochs)} epochs."
    return draw(f"epochs-{told.name}".replace(" ", "-"), f"{told.name}: over the epochs", alt, paint, size=(8.8, 4.4))


def _paper_sizes() -> dict[str, float]:
    """Return the samples of the paper's synthetic data sets, by row name, the smallest first."""
    table = paper_tables()["table-1b-zero-shot"]
    place = table.text_columns.index("Samples (M)")
    return {row.name: 1e6 * float(row.about[place]) for row in table.rows if row.about[0] == "SynthCLIP"}
