"""Stage `render`: an image for each caption of the balanced set, as WebDataset tars (paper, section 3.3).

A shard of images is a shard of the balanced set: same positions, same order. The next batch is drawn while the last one
is encoded and written. A worker with several renderers has each of them at another shard.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from sharding.canonical import canonical_json
from sharding.directory import PhaseDirectory
from sharding.drift import differences, explain
from sharding.journal import read_events
from sharding.marker import Counts, Promise
from sharding.plan import Plan, ShardRange
from sharding.seal import load_seal
from sharding.tar_log import TarLog
from sharding.ustar import members
from synthclip_hpc.config import RenderConfig, RunConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.place import Place
from synthclip_hpc.rendering.drawing import Drawn, draw_batch
from synthclip_hpc.rendering.registry import (
    check_renderer,
    gpus_of,
    identity_of,
    is_diffusion,
    open_renderer,
    pipeline_of,
    recipe_of,
)
from synthclip_hpc.rendering.samples import Item, Made, reject_member, sample_members
from synthclip_hpc.stages.balance.cut import layout as layout_of_cut
from synthclip_hpc.stages.phase import Estimate, Phase, ShardTask, Sources
from synthclip_hpc.stages.render_items import Reasons, inspect_tar, plan_recipe, read_items, whole_batches
from synthclip_hpc.stages.render_reuse import Reuse, Taken, dataset_of, tell_what_differs

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    import numpy as np

    from synthclip_hpc.rendering.diffusion.folder import PipelineFiles
    from synthclip_hpc.rendering.renderer import Renderer
    from synthclip_hpc.run import Run

SUFFIX = ".tar"
_LAID_OUT = ("seed", "recipe")
"""Keys of the plan that are not the renderer's."""


def layout(config: RunConfig, sources: Sources) -> Plan:
    """One tar for each shard of the balanced set; raises LayoutLater while its size is not known."""
    check_renderer(config.render)
    cut = layout_of_cut(config, sources)
    return Plan(
        stage="render",
        phase="draw",
        kind="map",
        num_items=cut.num_items,
        shard_items=cut.shard_items,
        suffix=SUFFIX,
        identity=_identity(config, sources.pipeline),
    )


def _identity(config: RunConfig, pipeline: PipelineFiles | None) -> dict[str, Any]:
    """Return what the plan binds: the seed, the recipe, and by name what these images depend on."""
    identity = identity_of(config.render, config.balance.case, pipeline)
    return {"seed": config.seed, "recipe": recipe_of(identity), **identity}


@contextmanager
def open_drawer(config: RunConfig, run: Run, plan: Plan) -> Iterator[Callable[[ShardTask], None]]:
    """Open the renderers once for an attempt; yield the function that draws one shard with an idle one."""
    from concurrent.futures import ThreadPoolExecutor

    from synthclip_hpc.rendering.jpeg import jpeg_encoder

    render, pipeline = config.render, pipeline_of(config.render)
    _refuse_another_plans(plan, identity_of(render, config.balance.case, pipeline))
    with ExitStack() as stack:
        reuse = None
        if render.reuse is not None:
            opened = Reuse.opened(render.reuse, plan_recipe(plan), config.seed, render.max_tries)
            reuse = stack.enter_context(opened)
        idle: SimpleQueue[Renderer] = SimpleQueue()
        for renderer in stack.enter_context(_open_renderers(render, config.balance.case, pipeline)):
            idle.put(renderer)
        encoder = stack.enter_context(ThreadPoolExecutor(render.renderers, thread_name_prefix="encoder"))
        yield _Drawer(config, run, idle, jpeg_encoder(render), reuse, encoder).draw_shard


@contextmanager
def _open_renderers(render: RenderConfig, case: str, pipeline: PipelineFiles | None) -> Iterator[Sequence[Renderer]]:
    """Open one renderer in this process, or several in processes of their own; they are closed at the end."""
    if render.renderers > 1:
        from synthclip_hpc.rendering.renderer_process import renderers_side_by_side

        with renderers_side_by_side(open_renderer, render, case, pipeline) as renderers:
            yield renderers
        return
    with closing(open_renderer(render, case, pipeline)) as renderer:
        yield [renderer]


def _refuse_another_plans(plan: Plan, found: dict[str, object]) -> None:
    """Raise UserError when what images depend on is not what was planned: files or software may have changed since."""
    planned = {key: value for key, value in plan.identity.items() if key not in _LAID_OUT}
    if other := differences(planned, json.loads(canonical_json(found))):
        raise UserError(
            f"render/draw was planned with something else than what is here:\n{explain(other)}\n"
            "Restore it, or start a new run with what is there (render.reuse takes over the images that are the same)"
        )


@dataclass(frozen=True)
class _Drawer:
    """What the shards of an attempt share."""

    config: RunConfig
    run: Run
    idle: SimpleQueue[Renderer]
    """Those that no shard is drawn with at present."""
    encode: Callable[[np.ndarray], bytes]
    reuse: Reuse | None
    encoder: ThreadPoolExecutor
    """A thread for each renderer."""

    def draw_shard(self, task: ShardTask) -> None:
        """Draw one shard; so many threads as there are renderers may call it at the same time."""
        renderer = self.idle.get()
        try:
            self._draw_shard(task, renderer)
        finally:
            self.idle.put(renderer)

    def _draw_shard(self, task: ShardTask, renderer: Renderer) -> None:
        items, recipe = read_items(self.run, task.shard), plan_recipe(task.plan)
        render = self.config.render
        log: TarLog[Reasons] = TarLog.open(
            task.directory, task.shard.index, task.attempt, whole_batches(items, render.batch_items, recipe)
        )
        with log:
            reasons = list(log.kept.facts)
            task.resumed(log.kept.num_items)
            num_taken = 0
            behind: Future[None] | None = None

            def write(batch: list[Item], made: list[Drawn | Taken]) -> None:
                found = [self._members(item, one, renderer, recipe) for item, one in zip(batch, made, strict=True)]
                log.append(members(content for contents, _ in found for content in contents))
                reasons.extend(reason for _, reason in found)
                task.progress(len(reasons))

            try:
                for start in range(log.kept.num_items, len(items), render.batch_items):
                    task.safe_point()
                    batch = items[start : start + render.batch_items]
                    made = self._make(batch, renderer)
                    num_taken += sum(isinstance(one, Taken) for one in made)
                    if behind is not None:
                        behind.result()
                    behind = self.encoder.submit(write, batch, made)
                    # The worker's pace, of which each of its renderers has a part.
                    _keep_pace(task, start + len(batch) - log.kept.num_items, render.items_per_s / render.renderers)
            finally:
                # Also when stopping: what is drawn is kept.
                if behind is not None:
                    behind.result()
            if self.reuse is not None:
                task.journal.event("reused", shard=task.shard.index, items=num_taken)
            task.publish(log.finish(), Counts.of(reasons))

    def _make(self, batch: list[Item], renderer: Renderer) -> list[Drawn | Taken]:
        """Return what became of each item: taken over, or drawn with the others of its batch that are not."""
        taken = self.reuse.take(batch) if self.reuse is not None else {}
        captions = [(item.caption_id, item.caption) for item in batch if item.position not in taken]
        drawn = iter(draw_batch(renderer.draw, captions, self.config.seed, self.config.render.max_tries))
        return [taken[item.position] if item.position in taken else next(drawn) for item in batch]

    def _members(
        self, item: Item, one: Drawn | Taken, renderer: Renderer, recipe: str
    ) -> tuple[list[tuple[str, bytes]], str | None]:
        """Return the tar members of an item, and why it has no image."""
        if isinstance(one, Taken):
            return sample_members(item, one.made, one.jpeg), None
        picture = one.picture
        if picture.pixels is None:
            return [reject_member(item, str(picture.reject_reason), one.tries)], picture.reject_reason
        made = Made(one.seed, one.tries, recipe, {**renderer.facts, **picture.facts})
        return sample_members(item, made, self.encode(picture.pixels)), None


def _keep_pace(task: ShardTask, items: int, items_per_s: float) -> None:
    """Wait until so many items would have taken this long, with safe points in between."""
    until = task.started + items / items_per_s if items_per_s else 0.0
    while (left := until - time.monotonic()) > 0:
        task.safe_point()
        time.sleep(min(0.2, left))


def inspect(run: Run, path: Path, plan: Plan, shard: ShardRange) -> Counts:
    """Count the images of a finished shard, rejects by reason; TarError for those of other captions."""
    return inspect_tar(path, read_items(run, shard), plan_recipe(plan))


def check_place(config: RunConfig, place: Place) -> None:
    """Raise UserError when the renderer could not be opened where the workers are going to run."""
    from synthclip_hpc.rendering.preflight import check_place as check

    pipeline = pipeline_of(config.render)
    check(config.render, place, pipeline)
    if config.render.reuse is not None:
        dataset_of(config.render.reuse)
        tell_what_differs(config.render.reuse, _identity(config, pipeline))


def promise(config: RunConfig) -> Promise:
    """Return `bytes` where an image made again is the same, else `items`.

    Drawing with glyphs is exact. Pipelines on the CPU repeat what a batch comes to, so not where some of its images are
    taken over: the others then differ by rounding. GPU kernels promise nothing, renderers of the user's neither.
    """
    render = config.render
    if is_diffusion(render) and render.reuse is None:
        from synthclip_hpc.rendering.diffusion.identity import promise_of

        return promise_of(render)
    return "bytes" if render.renderer == "glyphs" else "items"


def summary(directory: PhaseDirectory, plan: Plan) -> list[str]:
    """Return what a command tells of the finished stage: images, rejects by reason, how many were taken over."""
    seal = load_seal(directory)
    assert seal is not None
    counts = seal.counts
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in sorted(counts.rejects.items()))
    lines = [f"images     {counts.done:,}", f"  rejected {counts.rejected:,}{'   ' + reasons if reasons else ''}"]
    events = (event for path in directory.journals_path.glob("*.jsonl") for event in read_events(path)[0])
    told = [event["items"] for event in events if event["event"] == "reused"]
    if told:
        # An attempt that was killed in the middle of a shard did not get to tell of that one.
        lines.append(f"  {sum(told):,} of them, or more, taken over from render.reuse")
    return lines


def estimate(config: RunConfig) -> Estimate:
    """Return what one image costs."""
    render = config.render
    bytes_per_item = (0.1 * render.size**2, 0.6 * render.size**2)
    if render.renderer == "glyphs":
        pace = render.items_per_s
        seconds = (1 / pace, 1 / pace) if pace else (1 / 1500, 1 / 500)
        return Estimate(bytes_per_item, seconds, "measured: glyphs, one core")
    if render.device == "cpu":
        return Estimate(bytes_per_item, (1, 400), "measured: Stable Diffusion's shape on one CPU")
    if is_diffusion(render) and render.preset in (None, "sd15"):
        return Estimate(bytes_per_item, (0.2, 0.9), "the paper: 0.9 s on an A100; a newer card: 0.2 s", device="GPU")
    return Estimate(bytes_per_item, (0.02, 0.9), "published figures of one-step and 50-step models", device="GPU")


PHASES = (
    Phase(
        stage="render",
        name="draw",
        kind="map",
        upstream=lambda config: (("concepts", "read"), ("balance", "cut")),
        layout=layout,
        open=open_drawer,
        inspect=inspect,
        estimate=estimate,
        promise=promise,
        lanes=lambda config: config.render.renderers,
        threads=lambda config: config.render.threads,
        gpus=lambda config: config.render.renderers * gpus_of(config.render),
        check_place=check_place,
        summary=summary,
    ),
)
