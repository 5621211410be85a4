"""What a screen shows on demand and not with each refresh: a table of all shards, the newest captions."""

from __future__ import annotations

from dataclasses import dataclass

from synthclip_hpc.monitor.parts import ShardRow
from synthclip_hpc.monitor.phase_watch import PhaseWatch


@dataclass(frozen=True)
class CaptionRow:
    """One caption of a finished shard."""

    shard: int
    concept: str
    caption: str | None
    """None where none was usable."""
    reject_reason: str | None


def shard_rows(watch: PhaseWatch, now: float) -> list[ShardRow]:
    """Return a row for each shard of a phase, in order, as of the last look; `now` in seconds since 1970."""
    if watch.plan is None:
        return []
    return [_row(watch, shard, now) for shard in range(watch.plan.num_shards)]


def _row(watch: PhaseWatch, shard: int, now: float) -> ShardRow:
    assert watch.plan is not None
    part, journals = watch.plan.shard(shard), watch.journals
    total = part.stop - part.start
    if shard in watch.marked:
        counts = journals.finished.get(shard)
        if counts is None:  # an unreadable marker: verify names it
            return ShardRow(shard, "done", total, 0, 0, "", "", None, "")
        story = journals.stories.get(counts.attempt)
        node = story.node if story is not None else ""
        return ShardRow(shard, "done", total, counts.done, counts.rejected, counts.attempt, node, counts.seconds, "")
    visits = journals.in_progress.get(shard)
    if not visits:
        return ShardRow(shard, "pending", total, 0, 0, "", "", None, "")
    items = max(visit.items for visit in visits.values())
    at_work = watch.open.running.get(shard)
    name = at_work[-1] if at_work else max(visits, key=lambda one: visits[one].began)
    story = journals.stories[name]
    state = "running" if at_work else "failed" if shard in watch.open.failed else "pending"
    seconds = max(0.0, story.heard - visits[name].began) + story.silent_s(now) if at_work else None
    message = watch.open.failed.get(shard, "")
    return ShardRow(shard, state, total, items, 0, name, story.node, seconds, message)


def newest_captions(watch: PhaseWatch, count: int = 20) -> list[CaptionRow]:
    """Return the last captions of the shards that finished last, the newest shard first.

    `watch` is that of captions/write; reads as few files as are needed. Shards whose file is gone or damaged are passed
    over: verify names them.
    """
    if watch.plan is None:
        return []
    finished = watch.journals.finished
    done = sorted(watch.marked & finished.keys(), key=lambda shard: (finished[shard].at, shard), reverse=True)
    rows: list[CaptionRow] = []
    for shard in done:
        if len(rows) >= count:
            break
        rows += _captions(watch, shard)[-(count - len(rows)) :]
    return rows


def _captions(watch: PhaseWatch, shard: int) -> list[CaptionRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    assert watch.plan is not None
    path = watch.directory.data_path(shard, watch.plan.suffix)
    try:
        table = pq.read_table(path, columns=["concept", "caption", "reject_reason"])
    except (OSError, pa.ArrowInvalid):
        return []
    return [
        CaptionRow(shard, row["concept"], row["caption"] or None, row["reject_reason"] or None)
        for row in table.to_pylist()
    ]
