"""A shard's story, as lines for people."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from pathlib import Path

from synthclip_hpc.triage.story import AttemptAtShard, ShardStory

_LOGS = 3
_TAIL_BYTES = 64_000
"""So much of a log's end is looked at."""


def lines_of(story: ShardStory, run: Path, num_lines: int) -> list[str]:
    """Return the story; of tracebacks and logs the last `num_lines` lines, of logs the latest three."""
    lines = [*_head(story), ""]
    lines += [
        f"given to element {one.element} of {one.submission} ({_clock(one.created)}, {one.cluster}, {one.state})"
        + (f", which left alone {one.excluded}" if one.excluded else "")
        for one in story.given
    ]
    if not story.given:
        lines.append("done by the command itself" if story.attempts else "no submission has covered it")
    for number, attempt in enumerate(story.attempts, start=1):
        lines += ["", *_attempt(number, attempt, num_lines)]
    if story.work_files:
        lines += ["", "on its way to the output:"]
        lines += [f"  {one.path}  {one.size_bytes:,} bytes, written {_clock(one.written)}" for one in story.work_files]
    logs = list(dict.fromkeys(one.log for one in reversed(story.attempts) if one.log is not None))
    for log in logs[:_LOGS] if num_lines else []:
        lines += ["", f"end of {log}:", *(f"  {line}" for line in tail(Path(log), num_lines) or ["(empty)"])]
    if not story.is_done:
        at = f"run={shlex.quote(str(run))}"
        lines += ["", f"try it again: python -m synthclip_hpc.resume only=shards:{story.phase}/{story.shard} {at}"]
    return lines


def tail(path: Path, num_lines: int) -> list[str]:
    """Return the last lines of a file, as far as they stand in its last 64 kB; carriage returns start no line."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError as error:
        return [f"(cannot be read: {error.strerror})"]
    # Of a progress bar only what it showed last.
    lines = [line.rpartition("\r")[2] for line in text.replace("\r\n", "\n").split("\n")]
    return [_harmless(line) for line in lines if line.strip()][-num_lines:]


def _head(story: ShardStory) -> Iterator[str]:
    first, stop = story.items
    yield f"{story.phase} shard {story.shard}: items {first} to {stop - 1} of the plan"
    if story.marker is None:
        yield f"not done: {story.why_not}"
        return
    made = story.marker
    rejects = ", ".join(f"{count} {reason}" for reason, count in made["rejects"].items())
    yield (
        f"done{' and sealed' if story.is_sealed else ''}: {made['done']} items"
        + (f", {made['rejected']} rejected ({rejects})" if made["rejected"] else "")
        + f", {made['size_bytes']:,} bytes, sha256 {made['sha256'][:16]}"
    )
    if made["finished"] is not None:
        how = "found and adopted" if made["adopted"] else "made"
        took = f" in {made['seconds']} s" if made["seconds"] is not None else ""
        yield f"{how} by attempt {made['attempt']} on {made['node']}, {_clock(made['finished'])}{took}"


def _attempt(number: int, one: AttemptAtShard, num_lines: int) -> Iterator[str]:
    started = _clock(one.started) if one.started else "start not recorded"
    ended = f" to {_clock(one.ended)}" if one.ended is not None else ""
    where = f" on {one.node}" if one.node else ""
    yield f"attempt {number}: {one.attempt}{where}, {started}{ended}: {one.how}"
    if one.outcome is None:
        yield "  did not come to this shard"
    else:
        began = f"began {_clock(one.began)}" if one.began is not None else "began"
        resumed = f" with {one.resumed} items of earlier attempts" if one.resumed else ""
        outcome = "interrupted, or still at it" if one.outcome == "open" else one.outcome
        outcome = {"taken": "another attempt was faster"}.get(outcome, outcome)
        yield f"  {began}{resumed}; {outcome} at {one.items} items"
    if one.error is not None:
        yield f"  {one.error.get('type')}: {' '.join(str(one.error.get('message', '')).split())}"
        traceback = str(one.error.get("traceback", "")).rstrip().split("\n") if num_lines else []
        yield from (f"    {_harmless(line)}" for line in traceback[-num_lines:] if line)


def _harmless(line: str) -> str:
    """Return a line without what would steer a terminal."""
    return "".join(character for character in line if character.isprintable() or character == "\t")


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
