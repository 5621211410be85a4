"""The rows of the Stage view's tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from synthclip_hpc.monitor.notes import duration
from synthclip_hpc.monitor.parts import AttemptStatus, ShardRow, Straggler
from synthclip_hpc.monitor.snapshot import PhaseStatus
from synthclip_hpc.screen.nodes import NodeStatus
from synthclip_hpc.screen.pictures import sparkline, state_text

ATTEMPTS = ("attempt", "state", "cause", "node", "items/s", "last half hour", "at shard", "GPU", "done", "message")
SHARDS = ("shard", "state", "items", "rejected", "time", "node", "attempt", "message")
BEHIND = ("shard", "why", "for", "× median", "silent", "attempt", "node")
NODES = ("node", "running", "ended early", "items/s", "last half hour", "GPU", "GPU memory")
_SPARK = 15


def attempt_row(one: AttemptStatus) -> tuple[str | Text, ...]:
    """Return a row of ATTEMPTS."""
    last = one.gpu[-1] if one.gpu else None
    gpu = "" if last is None else f"{last.utilisation_percent:.0f}% {last.memory_bytes / last.memory_total_bytes:.0%}"
    at = ",".join(map(str, one.shards_now[:3])) + ("…" if len(one.shards_now) > 3 else "")
    rate = "" if one.items_per_s is None else f"{one.items_per_s:,.1f}"
    spark = sparkline(one.throughput, _SPARK)
    done = f"{one.shards_done:,}" + (f", {one.shards_failed:,} failed" if one.shards_failed else "")
    return (one.name, state_text(one.state), one.cause, one.node, rate, spark, at, gpu, done, _line(one.message))


def shard_row(one: ShardRow) -> tuple[str | Text, ...]:
    """Return a row of SHARDS."""
    items = f"{one.items_done:,}/{one.items_total:,}"
    rejected = f"{one.items_rejected:,}" if one.items_rejected else ""
    seconds = "" if one.seconds is None else duration(one.seconds)
    return (
        str(one.shard), state_text(one.state), items, rejected, seconds, one.node, one.attempt, _line(one.message),
    )  # fmt: skip


def straggler_row(one: Straggler) -> tuple[str | Text, ...]:
    """Return a row of BEHIND."""
    times = "" if one.times_median is None else f"{one.times_median:.1f}"
    why = state_text(one.why)
    return (str(one.shard), why, duration(one.running_s), times, duration(one.silent_s), one.attempt, one.node)


def node_row(one: NodeStatus) -> tuple[str | Text, ...]:
    """Return a row of NODES."""
    return (
        one.node,
        str(one.running),
        str(one.ended_early or ""),
        f"{one.items_per_s:,.1f}",
        sparkline(one.throughput, _SPARK),
        "" if one.gpu_percent is None else f"{one.gpu_percent:.0f}%",
        "" if one.gpu_memory is None else f"{one.gpu_memory:.0%}",
    )


def summary(key: str, phase: PhaseStatus, keys: Sequence[str]) -> Text:
    """Return a phase in two lines; `keys`: all phases, for its place among them."""
    text = Text()
    text.append(f"{key} ", "bold").append_text(state_text(phase.state))
    text.append(f"  phase {list(keys).index(key) + 1} of {len(keys)}, [ and ] go on", "dim")
    text.append(f"\n{phase.shards_done:,}/{phase.shards_total:,} shards")
    for count, word in ((phase.shards_running, "at work"), (phase.shards_failed, "failed")):
        if count:
            text.append(f", {count:,} {word}")
    if phase.items_per_s is not None:
        text.append(f"; {phase.items_per_s:,.1f} items/s")
    if phase.items_per_s_overall is not None:
        text.append(f" ({phase.items_per_s_overall:,.1f} overall)")
    if phase.shard_median_s is not None:
        text.append(f"; a shard {duration(phase.shard_median_s)}")
    if phase.items_rejected:
        text.append(f"; {phase.items_rejected:,} rejected")
    return text


def _line(text: str) -> str:
    return " ".join(text.split())[:200]
