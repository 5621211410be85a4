"""How fast one process draws pictures of emoji and encodes them, beside PIL encoding the same pictures; and the cache.

Captions are CLIP's templates over the emoji bank, half of the drawings redrawn, 256 pixels, JPEG quality 95, 4:2:0. The
whole bank is rasterised first, into an empty cache: what that costs in time, disk and memory are rows of their own.
"""

from __future__ import annotations

import io
import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from synthclip_hpc.captioning.engines.template import read_templates
from synthclip_hpc.rendering.glyphs.named import read_emoji
from synthclip_hpc.rendering.glyphs.renderer import GlyphsRenderer
from synthclip_hpc.rendering.renderer import Request
from tests.benchmarks.measure import Result, environment, run_process

TIMES = 7
NUM_PICTURES = 1024
BATCH_ITEMS = 16
SIZE = 256
FLOOR_PER_S = 800
GOAL_PER_S = 1500


def measure(folder: Path) -> list[Result]:
    words = [sys.executable, "-m", "tests.benchmarks.glyphs_speed"]
    cache = folder / "cache"
    made = json.loads(run_process(words, folder, environment(SYNTHCLIP_CACHE=str(cache))).output)
    found = json.loads(run_process(words, folder, environment(SYNTHCLIP_CACHE=str(cache))).output)
    disk_bytes = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    rate = statistics.median(found["both"])
    what = f"glyphs, {SIZE} px, drawn and encoded, one core"
    spread = f"(of {TIMES}: {min(found['both']):,.0f} to {max(found['both']):,.0f})"
    floor = f"> {FLOOR_PER_S:,}/s (goal {GOAL_PER_S:,})"
    return [
        Result(what, f"{rate:,.0f}/s {spread}", floor, rate > FLOOR_PER_S),
        Result(
            "glyphs, PIL's JPEG alone of the same pictures", f"{statistics.median(found['jpeg']):,.0f}/s", "-", None
        ),
        Result("glyphs, the whole bank rasterised once", f"{made['all_s']:.0f} s", "-", None),
        Result("glyphs, the whole bank from the cache", f"{found['all_s']:.2f} s", "-", None),
        Result("glyphs, disk that the whole bank's artwork takes", f"{disk_bytes / 1e6:.0f} MB", "-", None),
        Result("glyphs, growth of the process by all of it", f"{found['growth_bytes'] / 1e6:.0f} MB", "-", None),
    ]


def compare() -> dict[str, Any]:
    """Open every drawing, then draw and encode in turns."""
    concepts, templates = list(read_emoji()), read_templates()
    requests = [
        Request(templates[number % len(templates)].format(concept=concepts[number % len(concepts)]), number)
        for number in range(NUM_PICTURES)
    ]
    renderer = GlyphsRenderer("twemoji", SIZE, 0.5, "exact")
    renderer.draw([Request("a fox", 0)])
    before, started = _peak_bytes(), time.perf_counter()
    for concept in concepts:
        renderer.draw([Request(concept, 0)])
    all_s, growth_bytes = time.perf_counter() - started, _peak_bytes() - before
    jpeg, both = [], []
    for _ in range(TIMES):
        encode_s, started = 0.0, time.perf_counter()
        for first in range(0, NUM_PICTURES, BATCH_ITEMS):
            pictures = renderer.draw(requests[first : first + BATCH_ITEMS])
            drawn = time.perf_counter()
            for picture in pictures:
                _encode(picture.pixels)
            encode_s += time.perf_counter() - drawn
        both.append(NUM_PICTURES / (time.perf_counter() - started))
        jpeg.append(NUM_PICTURES / encode_s)
    return {"all_s": all_s, "growth_bytes": growth_bytes, "both": both, "jpeg": jpeg}


def _encode(pixels: Any) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, subsampling="4:2:0")
    return file.getvalue()


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(json.dumps(compare()), flush=True)
