"""From what was verified to the index: which tars are in the set, which of their samples, and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synthclip_hpc.dataset.columns import OWN_SOURCE, index_schema, rejects_schema
from synthclip_hpc.dataset.folder import Tar
from synthclip_hpc.dataset.sources import TarSource

Verified = Iterable[tuple[Any, Sequence[dict[str, Any]]]]
"""(table of `verified_schema`, what is known of its tars), in the order of the tars."""


@dataclass
class Assembled:
    """What there is after the last row has been taken."""

    tars: list[Tar] = field(default_factory=list)
    """Those with samples in the index, in order: a tar's number is its place. One without is left out, as some readers
    stumble over it."""
    samples: Counter[str] = field(default_factory=Counter)
    """Source -> samples in the index."""
    rejects: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(source, reason) -> items that became no sample."""


def assemble(
    verified: Verified,
    path_of: Callable[[int], Path],
    sources: Sequence[TarSource],
    add_rejects: Callable[[Any], None],
    into: Assembled,
) -> Iterator[Any]:
    """Yield the index rows of each tar of the data set, numbered anew without gaps; fill `into` on the way.

    Of a source with a cap N the first N samples are taken. The tar in which the cap falls stays whole: the index just
    stops inside it.
    """
    left = {source.name: source.cap for source in sources}
    names, refused = index_schema().names, rejects_schema()
    for table, known in verified:
        start = 0
        for one in known:
            source = one["source"] or OWN_SOURCE
            cap = left.get(source)
            taken = one["samples"] if cap is None else min(cap, one["samples"])
            rows = table.slice(start, taken).select(names)
            rejects = table.slice(start + one["samples"], one["rejects"]).select(refused.names)
            start += one["samples"] + one["rejects"]
            number = len(into.tars) if taken else None
            if rejects.num_rows:
                into.rejects.update((source, reason) for reason in rejects.column("reject_reason").to_pylist())
                add_rejects(_numbered(rejects, number).cast(refused))
            if not taken:
                continue
            if cap is not None:
                left[source] = cap - taken
            into.tars.append(Tar(path_of(one["tar"]), source, one["samples"], one["sha256"]))
            into.samples[source] += taken
            yield _numbered(rows, number).cast(index_schema())


def _numbered(table: Any, number: int | None) -> Any:
    import pyarrow as pa

    place = table.schema.get_field_index("tar")
    return table.set_column(place, "tar", pa.array([number] * table.num_rows, pa.uint32()))
