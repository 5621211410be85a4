"""A run that is balanced and, as far as the stages behind can tell, rendered: tars written by Python's tarfile."""

from __future__ import annotations

import functools
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sharding.files import make_directory
from sharding.ids import derive
from sharding.inputs import bind_inputs
from sharding.marker import Counts
from sharding.plan import bind_plan
from sharding.publication import publish_shard
from sharding.seal import load_seal, write_seal
from synthclip_hpc.rendering.samples import Item, Made, reject_member, sample_members
from synthclip_hpc.stages.phase import Sources
from synthclip_hpc.stages.render import layout
from tests.synthclip_hpc.app import App, made_once

Member = tuple[str, bytes]
Change = Callable[[int, list[Member]], list[Member]]


def write_tar(path: Path, members: list[Member]) -> Path:
    make_directory(path.parent)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@functools.cache
def jpeg(number: int, size: int = 32) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    color = ((number * 67) % 256, (number * 31) % 256, (number * 129) % 256)
    Image.new("RGB", (size, size), color).save(out, "JPEG", quality=95)
    return out.getvalue()


def sample(key: str, image: bytes, caption: str, **record: Any) -> list[Member]:
    line = json.dumps({"caption": caption, **record}, ensure_ascii=False).encode()
    return [(f"{key}.jpg", image), (f"{key}.txt", caption.encode()), (f"{key}.json", line)]


def members_of(row: Mapping[str, Any], recipe: str, rejected: bool) -> list[Member]:
    names = ("position", "caption_id", "concept_id", "concept", "n", "caption", "source")
    item = Item(**{name: row[name] for name in names}, concepts=(row["concept"],))
    if rejected:
        return [reject_member(item, "unsafe", 3)]
    facts = {"renderer": "glyphs", "model": "twemoji-2.0.0", "revision": "", "steps": 0, "guidance": 0.0}
    return sample_members(item, Made(derive(0, item.caption_id, "image") >> 1, 1, recipe, facts), jpeg(item.position))


def balanced(app: App, *words: str) -> None:
    """Balance the templates' captions of some emoji: 47 of them, in shards of 10."""
    asked = ("preset=laptop", "concepts.limit=40", "captions.per_concept=4")
    given = (*asked, "balance.target=47", "balance.shard_items=10", "workers=1", *words)

    def make(run: App) -> None:
        outcome = run("submit", "stage=captions,balance", *given)
        assert outcome.code == 0, outcome

    made_once(app.path, given, make)


def shard_members(app: App, shard: int, recipe: str, rejects: set[int]) -> list[Member]:
    import pyarrow.parquet as pq

    rows = pq.read_table(app.run.phase("balance", "cut").data_path(shard, ".parquet")).to_pylist()
    return [one for row in rows for one in members_of(row, recipe, row["position"] in rejects)]


def render(app: App, rejects: frozenset[int] = frozenset(), change: Change = lambda shard, members: members) -> None:
    """Be the stage `render`: a tar a shard, markers, seal. `change` damages what is written."""
    directory = app.run.phase("render", "draw")
    seal = load_seal(app.run.phase("balance", "cut"))
    assert seal is not None
    config = app.run.load_config()
    plan = layout(config, Sources(config, app.run))
    bind_plan(directory, plan)
    inputs = bind_inputs(directory, {"balance/cut": seal.hash})
    for shard in range(plan.num_shards):
        items = plan.shard(shard)
        lost = {one for one in rejects if items.start <= one < items.stop}
        path = directory.staged_path(shard, "0_0_0", ".tar")
        write_tar(path, change(shard, shard_members(app, shard, plan.identity["recipe"], set(rejects))))
        total = items.stop - items.start
        counts = Counts(total, total - len(lost), len(lost), {"unsafe": len(lost)} if lost else {})
        publish_shard(
            directory, plan, shard, path, counts, inputs_hash=inputs, promise="bytes", provenance={"test": True}
        )
    write_seal(directory, plan, inputs)


def merge(app: App, *words: str) -> None:
    outcome = app("submit", "stage=merge", *words)
    assert outcome.code == 0, outcome
    assert load_seal(app.run.phase("merge", "index")) is not None, outcome


def read_by_tarfile(folder: Path) -> dict[str, dict[str, bytes]]:
    """All members of the samples of a folder of tars: key -> extension -> content. Keys must be unique."""
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for info in tar:
                key, _, extension = info.name.partition(".")
                file = tar.extractfile(info)
                if extension and file is not None:
                    found.setdefault(key, {})[extension] = file.read()
    return found
