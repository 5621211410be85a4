"""Every image of a run, held against the caption that it must belong to; and drawn again, by calls of its own."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synthclip_hpc.rendering.drawing import image_seed
from synthclip_hpc.rendering.jpeg import jpeg_encoder
from synthclip_hpc.rendering.registry import open_renderer, pipeline_of
from synthclip_hpc.rendering.renderer import Renderer, Request
from synthclip_hpc.run import Run
from tests.chaos.scenario import Scenario

_EXTENSIONS = ("jpg", "txt", "json")


@dataclass(frozen=True)
class Wanted:
    """A row of the balanced set."""

    position: int
    caption_id: int
    caption: str

    @property
    def key(self) -> str:
        return f"{self.position:09d}"


@dataclass
class Shard:
    """The rows of a shard, and what its tar has of them."""

    rows: list[Wanted]
    jpegs: dict[int, bytes] = field(default_factory=dict)
    """Position -> image."""
    records: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Position -> record of the sample, or of the reject."""
    problems: list[str] = field(default_factory=list)


def wrong_images(run: Path, scenario: Scenario) -> list[str]:
    """What is wrong with the images of a finished run: lost, doubled, of another caption, or not what its seed draws.

    `scenario.redrawn` of them, spread evenly and in their batches, are drawn again.
    """
    tables = sorted((run / "balance" / "cut" / "data").rglob("*.parquet"))
    tars = sorted((run / "render" / "draw" / "data").rglob("*.tar"))
    if [path.stem for path in tables] != [path.stem for path in tars]:
        return [f"{len(tars)} tars for {len(tables)} shards of the balanced set"]
    shards = [read_shard(table, tar) for table, tar in zip(tables, tars, strict=True)]
    found = [problem for shard in shards for problem in shard.problems]
    ids = Counter(row.caption_id for shard in shards for row in shard.rows if row.position in shard.records)
    found += [f"caption {one} has {count} images" for one, count in ids.items() if count > 1]
    if sum(ids.values()) != scenario.final_items:
        found.append(f"{sum(ids.values())} samples and rejects, expected {scenario.final_items}")
    found += _not_in_index(run, shards)
    # Once a sample is not where it belongs, drawing it again says nothing more.
    return found or _other_bytes(run, shards, scenario)


def read_shard(table: Path, tar: Path) -> Shard:
    """Read a shard, the tar with Python's own reader, and note what does not belong together."""
    import pyarrow.parquet as pq

    columns = pq.read_table(table, columns=["position", "caption_id", "caption"]).columns
    shard = Shard([Wanted(*row) for row in zip(*(column.to_pylist() for column in columns), strict=True)])
    with tarfile.open(tar) as archive:
        members = [(one.name, archive.extractfile(one)) for one in archive]
        names = [name for name, _ in members]
        content = {name: file.read() for name, file in members if file is not None}
    expected = []
    for row in shard.rows:
        reject = f"__reject__/{row.key}"
        own = [reject] if reject in content else [f"{row.key}.{extension}" for extension in _EXTENSIONS]
        expected += own
        if all(name in content for name in own):
            shard.records[row.position] = record = json.loads(content[own[-1]])
            if reject not in content:
                shard.jpegs[row.position] = content[own[0]]
                texts = {content[own[1]].decode(), record["caption"]}
            else:
                texts = {row.caption}
            if texts != {row.caption} or record["caption_id"] != str(row.caption_id):
                shard.problems.append(f"{tar.name}: {row.key} is not that of its caption")
    if names != expected:
        lost, more = Counter(expected) - Counter(names), Counter(names) - Counter(expected)
        shard.problems.append(f"{tar.name}: lost {sorted(lost)[:3]}, too many {sorted(more)[:3]}, or in another order")
    return shard


def _not_in_index(run: Path, shards: list[Shard]) -> list[str]:
    import pyarrow.parquet as pq

    found = []
    samples = [row for shard in shards for row in shard.rows if row.position in shard.jpegs]
    rejects = [row for shard in shards for row in shard.rows if row.position in shard.records.keys() - shard.jpegs]
    for name, rows in (("index", samples), ("rejects", rejects)):
        table = pq.read_table(run / "dataset" / f"{name}.parquet", columns=["key", "caption_id"])
        listed = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
        if listed != [(row.key, row.caption_id) for row in rows]:
            found.append(f"dataset/{name}.parquet: {len(listed)} rows are not the {len(rows)} that the tars have")
    return found


def _other_bytes(run: Path, shards: list[Shard], scenario: Scenario) -> list[str]:
    config = Run(run).load_config()
    size = scenario.batch_items
    batches = [
        (shard, shard.rows[start : start + size]) for shard in shards for start in range(0, len(shard.rows), size)
    ]
    wanted = min(len(batches), -(-scenario.redrawn // size))
    renderer = open_renderer(config.render, config.balance.case, pipeline_of(config.render))
    try:
        encode = jpeg_encoder(config.render)
        chosen = [batches[place * len(batches) // wanted] for place in range(wanted)]
        return [problem for shard, batch in chosen for problem in _redraw(renderer, encode, shard, batch, config.seed)]
    finally:
        renderer.close()


def _redraw(
    renderer: Renderer, encode: Callable[[Any], bytes], shard: Shard, batch: list[Wanted], run_seed: int
) -> list[str]:
    """Draw a batch again in the company that it was drawn in, as rounding may depend on it."""
    found = []
    todo, attempt = batch, 0
    while todo:
        requests = [Request(row.caption, image_seed(run_seed, row.caption_id, attempt)) for row in todo]
        pictures = renderer.draw(requests)
        attempt += 1
        for row, request, picture in zip(todo, requests, pictures, strict=True):
            record = shard.records[row.position]
            if record["tries"] > attempt or row.position not in shard.jpegs:
                continue
            if record["seed"] != request.seed:
                found.append(f"{row.key} says seed {record['seed']}, expected {request.seed}")
            elif picture.pixels is None or encode(picture.pixels) != shard.jpegs[row.position]:
                found.append(f"{row.key} is not what its caption and seed draw")
        todo = [row for row in todo if shard.records[row.position]["tries"] > attempt]
    return found
