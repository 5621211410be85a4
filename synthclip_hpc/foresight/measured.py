"""What one shard took, in words."""

from __future__ import annotations

from synthclip_hpc.foresight.visits import work_of
from synthclip_hpc.foresight.words import size
from synthclip_hpc.launch.chain import Link
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import Submission


def measured_lines(run: Run, link: Link, submission: Submission, shard: int) -> list[str]:
    """Return pace, start-up and size of a finished shard, as its submission's attempts tell of them."""
    phase = link.phase
    work = work_of(link.directory(run), is_gang=phase.kind == "gang")
    visits = [one for one in work.visits if one.submission == submission.name and one.shard == shard]
    starts = [one.seconds for one in work.start_ups if one.submission == submission.name]
    items, seconds = sum(one.items for one in visits), sum(one.seconds for one in visits)
    lines = [f"{phase.key}: shard {shard} is done"]
    if items:
        lives = f" in {len(visits)} attempts" if len(visits) > 1 else ""
        lines.append(f"  pace      {items / seconds:,.3g} items/s: {items:,} items, busy for {seconds:,.1f} s{lives}")
    else:
        lines.append("  pace      not measured: its journal does not tell of the work")
    if starts:
        lines.append(f"  start-up  {sum(starts) / len(starts):,.1f} s")
    output = work.outputs.get(shard)
    if output is not None and output.items:
        each = size(output.size_bytes / output.items)
        lines.append(f"  output    {size(output.size_bytes)}, {each} an item")
    return lines
