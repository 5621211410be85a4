"""Phase `sets`: the built-in glyph sets become folders in CLIP_benchmark's layout, `eval/sets/NAME/`.

One task draws all of them, in seconds a set; each folder appears by one rename.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharding.canonical import canonical_json
from sharding.files import checksum, make_directory, replace_file
from sharding.marker import Counts
from sharding.plan import Plan, ShardRange, load_plan
from synthclip_hpc.config import RunConfig
from synthclip_hpc.dataset.folder import exchange
from synthclip_hpc.errors import UserError
from synthclip_hpc.evaluation.places import set_folder
from synthclip_hpc.evaluation.settings import SEED, check_settings, glyph_sets_of
from synthclip_hpc.stages.phase import Estimate, Phase, ShardTask, Sources

if TYPE_CHECKING:
    from sharding.directory import PhaseDirectory
    from synthclip_hpc.run import Run

SUFFIX = ".json"
SETS = "sets"


def layout(config: RunConfig, sources: Sources) -> Plan:
    """All sets that are named are one task's; none: no task. Raises UserError for bad values and missing packages."""
    check_settings(config.eval)
    names = glyph_sets_of(config.eval)
    identity: dict[str, Any] = {}
    if names:
        identity = {
            "sets": names,
            "sets_seed": SEED,  # of no run: all are measured on the same sets
            "size": config.render.size,
            "images_per_class": config.eval.glyph_images,
            "artwork": {name: _artwork(name, config.render.size) for name in names},
        }
    return Plan(
        stage="eval",
        phase=SETS,
        kind="map",
        num_items=len(names),
        shard_items=max(1, len(names)),
        suffix=SUFFIX,
        identity=identity,
    )


def _artwork(name: str, size: int) -> str:
    from synthclip_hpc.rendering.glyphs.preflight import preflight

    try:
        return preflight(name.split("-")[1], size, 0.0).label
    except UserError as error:
        raise UserError(f"eval.datasets={name}: {error}") from error


@contextmanager
def open_drawer(config: RunConfig, run: Run, plan: Plan) -> Iterator[Callable[[ShardTask], None]]:
    """Yield the function that draws the sets; two attempts at once make the same."""
    from synthclip_hpc.rendering.glyphs.evaluation_sets import write_glyph_set

    def process(task: ShardTask) -> None:
        task.resumed(0)
        given = plan.identity
        # Below `partial`, which goes when the phase is sealed; the name is none of a shard's own work files.
        staged = task.directory.path / "partial" / f"sets-{task.attempt}"
        shutil.rmtree(staged, ignore_errors=True)
        told: dict[str, Any] = {}
        for done, name in enumerate(given["sets"], start=1):
            folder = staged / name
            make_directory(folder)
            facts = write_glyph_set(
                folder,
                name,
                seed=given["sets_seed"],
                images_per_class=given["images_per_class"],
                size=given["size"],
            )
            told[name] = facts | {"files": _sums(folder)}
            task.safe_point()
            task.progress(done)
        for name in told:
            exchange(staged / name, set_folder(run, name), staged / f"old-{name}")
        output = task.directory.staged_path(task.shard.index, task.attempt, SUFFIX)
        make_directory(output.parent)
        replace_file(output, canonical_json(told))
        task.publish(output, Counts(plan.num_items, plan.num_items, 0, {}))

    yield process


def _sums(folder: Path) -> dict[str, str]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): checksum(path)[1] for path in found}


def inspect(run: Run, path: Path, plan: Plan, shard: ShardRange) -> Counts:
    """Look whether a finished output names the planned sets. Raises ValueError when it does not."""
    if list(json.loads(path.read_bytes())) != sorted(plan.identity["sets"]):
        raise ValueError(f"{path} tells of other sets than the plan's")
    return Counts(plan.num_items, plan.num_items, 0, {})


def fault_of_sets(run: Run) -> str | None:
    """Return what is wrong with the folders of the sets, None when they are whole."""
    directory = run.phase("eval", SETS)
    plan = load_plan(directory)
    if plan is None or not plan.num_shards:
        return None
    told = json.loads(directory.data_path(0, SUFFIX).read_bytes())
    for name, facts in told.items():
        folder = set_folder(run, name)
        for file, sha256 in facts["files"].items():
            if not (folder / file).is_file():
                return f"{folder} lacks {file}"
            if checksum(folder / file)[1] != sha256:
                return f"{folder / file} is not as it was written"
    return None


def summary(directory: PhaseDirectory, plan: Plan) -> list[str]:
    """Return what a command tells of the sets."""
    if not plan.num_shards:
        return []
    told = json.loads(directory.data_path(0, SUFFIX).read_bytes())
    return [f"{name}: {directory.path / name} ({facts['licence']})" for name, facts in told.items()]


PHASE = Phase(
    stage="eval",
    name=SETS,
    kind="map",
    upstream=lambda config: (),
    layout=layout,
    open=open_drawer,
    inspect=inspect,
    estimate=lambda config: Estimate((2e6, 2e7), (3, 60), "measured: 1,000 scenes of 64 to 256 px on one core"),
    promise=lambda config: "bytes",
    fault_beside=fault_of_sets,
    jobs_like="merge",
    summary=summary,
)
