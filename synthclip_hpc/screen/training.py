"""How the training goes."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Static

from synthclip_hpc.monitor.notes import duration
from synthclip_hpc.monitor.parts import CurvePoint, TrainingStatus
from synthclip_hpc.monitor.snapshot import Snapshot
from synthclip_hpc.screen.pictures import curve
from synthclip_hpc.screen.tables import Pane
from synthclip_hpc.screen.view import View

_MARGIN = 9
"""Characters before a curve, for its numbers."""
_LINES_OF_TEXT = 9
_LEAST_HEIGHT, _MOST_HEIGHT = 3, 16


class TrainingView(View):
    """Step, epoch, checkpoint, what interruptions cost, and the curves of loss and throughput over the steps."""

    name_shown = "Training"

    def compose(self) -> ComposeResult:
        with Pane(id="training-pane"):
            yield Static(id="training-text", markup=False)

    def focus_main(self) -> None:
        self.query_one("#training-pane").focus()

    def render_snapshot(self, snapshot: Snapshot) -> None:
        text = Text("no training has said anything yet", style="dim")
        if snapshot.training is not None:
            height = (self.size.height - _LINES_OF_TEXT) // 2
            text = shown(snapshot.training, self.size.width - _MARGIN - 2, height)
        self.query_one("#training-text", Static).update(text)


def shown(training: TrainingStatus, width: int, height: int) -> Text:
    """Return a training as text with two curves, each `width` characters by about `height` lines."""
    height = min(max(height, _LEAST_HEIGHT), _MOST_HEIGHT)
    text = Text()
    total = "" if training.total_steps is None else f" of {training.total_steps:,}"
    text.append(f"step {training.step:,}{total}", "bold")
    text.append(f", epoch {training.epoch:.2f} of {training.epochs}, told {duration(training.told_age_s)} ago\n")
    waits = "" if training.data_wait_s is None else f"; a step waits {1000 * training.data_wait_s:.0f} ms for data"
    text.append(f"loss {_number(training.loss, 4)}, {_number(training.samples_per_s, 0)} samples/s{waits}\n")
    if training.checkpoint_step is None:
        text.append("no checkpoint yet\n")
    else:
        age = duration(training.checkpoint_age_s)
        text.append(f"last checkpoint: step {training.checkpoint_step:,}, {age} old\n")
    if training.checkpoints_failed:
        text.append(f"{training.checkpoints_failed} checkpoints could not be written\n", "bold red")
    lost = training.lost_work_s, training.lost_waiting_s
    text.append(f"lost to interruptions: {duration(lost[0])} of work done again, {duration(lost[1])} of waiting\n")
    for name, style, digits in (("loss", "cyan", 3), ("samples_per_s", "green", 0)):
        text.append_text(_curve(training.curve, name, style, digits, max(8, width), height))
    return text


def _curve(points: tuple[CurvePoint, ...], name: str, style: str, digits: int, width: int, height: int) -> Text:
    told = [(float(point.step), value) for point in points if (value := getattr(point, name)) is not None]
    text = Text()
    if not told:
        return text
    values = [value for _, value in told]
    text.append(f"{name.replace('_per_s', '/s')} by step\n", "bold")
    lines = curve(told, width, height)
    for number, line in enumerate(lines):
        at = {0: max(values), len(lines) - 1: min(values)}.get(number)
        margin = "" if at is None else f"{at:,.{digits}f}"
        text.append(f"{margin:>{_MARGIN - 2}} ┤", "dim").append(f"{line}\n", style)
    return text


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
