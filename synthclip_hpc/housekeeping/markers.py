"""Markers of sealed phases: folded into one file, provenance included, a phase at a time."""

from __future__ import annotations

from sharding.folding import FoldRefused, fold_markers
from synthclip_hpc.housekeeping.ground import Ground
from synthclip_hpc.housekeeping.heap import Heap, size_of
from synthclip_hpc.launch.chain import Link

KIND = "markers of sealed phases (folded into one file each)"


def markers(ground: Ground) -> Heap:
    """Return the marker files of the sealed phases that have more than one shard."""
    sizes: list[int] = []
    links: list[Link] = []
    for link in ground.sealed:
        directory = link.directory(ground.run)
        own = [shard for shard in directory.own_markers() if shard < link.plan.num_shards]
        if own and link.plan.num_shards > 1:
            links.append(link)
            sizes += [size_of(directory.marker_path(shard)) or 0 for shard in own]

    def clear() -> list[str]:
        left = []
        for link in links:
            try:
                fold_markers(link.directory(ground.run), link.plan)
            except FoldRefused as error:
                left.append(f"markers of {link.phase.key} stay: {error}; verify tells more")
        return left

    return Heap(KIND, len(sizes), sum(sizes), clear)
