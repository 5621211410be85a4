"""Small merged data sets: real tars of JPEGs, and the index as the stage merge writes it."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from synthclip_hpc.dataset.columns import INDEX, SHARDS, index_schema, tar_name
from synthclip_hpc.dataset.foreign_tar import read_foreign
from synthclip_hpc.dataset.index_file import RowWriter
from tests.synthclip_hpc.dataset.rendered import Member, sample, write_tar


@functools.cache
def picture(number: int, width: int = 48, height: int = 40, kind: str = "JPEG", mode: str = "RGB") -> bytes:
    """An image like no other: smooth noise."""
    from PIL import Image

    dots = np.random.default_rng(number).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    image = Image.fromarray(dots).resize((width, height), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    image.convert(mode).save(out, kind)
    return out.getvalue()


def caption(number: int) -> str:
    return f"a picture of number {number}"


def make_data_set(
    folder: Path,
    sources: Mapping[str, Sequence[int]],
    change: Callable[[int, list[Member]], list[Member]] = lambda number, members: members,
) -> Path:
    """Write tars of these numbers of samples; sample n of the index is picture n. `change` damages what is written."""
    import pyarrow as pa

    names = index_schema().names
    with RowWriter(folder / INDEX, index_schema()) as index:
        number = tar = 0
        for source, sizes in sources.items():
            for size in sizes:
                path, members = folder / SHARDS / tar_name(tar), []
                for one in range(number, number + size):
                    members += sample(f"{one:06d}", picture(one), caption(one))
                write_tar(path, members)
                found = read_foreign(path.read_bytes(), path, source, tar)
                changed = []
                for one in range(number, number + size):
                    changed += change(one, members[3 * (one - number) : 3 * (one - number) + 3])
                # After the index is made: what is damaged later lies where it did.
                assert [len(content) for _, content in changed] == [len(content) for _, content in members]
                write_tar(path, changed)
                columns = {name: found.columns[name] for name in names}
                index.add(pa.Table.from_pydict(columns, schema=index_schema()))
                number, tar = number + size, tar + 1
    return folder
