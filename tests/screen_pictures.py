"""Pictures of the screen for the README, from the recorded run: `python -m tests.screen_pictures FOLDER`."""

from __future__ import annotations

import asyncio
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from synthclip_hpc.monitor.recording import DEMO, Recording, load
from synthclip_hpc.screen.app import RunScreen
from synthclip_hpc.screen.recorded import RecordedFeed

PATIENCE_S = 1.5
"""So long the screen has for what threads bring."""


@dataclass(frozen=True)
class Picture:
    """What to show of the recording."""

    name: str
    size: tuple[int, int]
    """Columns and rows."""
    at: float
    """When, as a share of the recording."""
    keys: tuple[str, ...]


PICTURES = (
    Picture("overview", (100, 24), 0.25, ()),
    Picture("overview-wide", (160, 48), 0.72, ()),
    Picture("failures", (80, 24), 0.35, ("3",)),
    Picture("stage-light", (160, 30), 0.12, ("d", "2")),
    Picture("training", (80, 24), 0.99, ("4",)),
    Picture("help", (80, 24), 0.35, ("3", "question_mark")),
)


async def take(recording: Recording, picture: Picture, folder: Path) -> Path:
    """Write a picture as SVG and return its path."""
    at_s = picture.at * len(recording.frames) * recording.interval_s
    times = iter([0.0])
    screen = RunScreen(RecordedFeed(recording, clock=lambda: next(times, at_s)), "runs/demo")
    async with screen.run_test(size=picture.size) as pilot:
        while screen.snapshot is None:
            await pilot.pause(0.02)
        await pilot.press(*picture.keys)
        await pilot.pause(PATIENCE_S)
        drawn = screen.export_screenshot()
    # Whoever shows the picture has a font of its own; none is to be fetched.
    drawn = re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL).replace("Fira Code", "DejaVu Sans Mono")
    path = folder / f"screen-{picture.name}.svg"
    path.write_text(drawn, encoding="utf-8")
    return path


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    recording = load(DEMO)
    for picture in PICTURES:
        print(asyncio.run(take(recording, picture, folder)))


if __name__ == "__main__":
    main()
