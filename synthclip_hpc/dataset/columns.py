"""The columns of the index, and the names of the files of a data set."""

from __future__ import annotations

from typing import Any

INDEX, REJECTS, CAPTION_IDS = "index.parquet", "rejects.parquet", "caption-ids.npy"
CARD, SHEET, CHECKSUMS = "README.md", "contact-sheet.png", "checksums.sha256"
SHARDS, SIZES = "shards", "sizes.json"

OWN_SOURCE = "render"
"""What the column `source` says of the run's own images."""
IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp")
"""Of a sample's images the first of these counts."""
PARTS = ("image", "txt", "json")
"""What a sample consists of; the index has `<part>_offset` and `<part>_size` of each, in bytes of its tar."""


def tar_name(number: int) -> str:
    """Return the file name of a tar of the data set."""
    return f"{number:05d}.tar"


def index_schema() -> Any:
    """Return the Arrow schema of `index.parquet`: a row a sample, in the order of the tars and inside them.

    Null where a sample of another source has no such part or does not tell.
    """
    import pyarrow as pa

    return pa.schema(
        [
            ("key", pa.string()),
            ("tar", pa.uint32()),
            ("source", pa.string()),
            ("caption_id", pa.uint64()),
            ("image", pa.string()),
            *((f"{part}_{what}", pa.int64()) for part in PARTS for what in ("offset", "size")),
            ("recipe", pa.string()),
            ("seed", pa.int64()),
        ]
    )


def rejects_schema() -> Any:
    """Return the Arrow schema of `rejects.parquet`: a row an item that became no sample."""
    import pyarrow as pa

    return pa.schema(
        [
            ("key", pa.string()),
            ("tar", pa.uint32()),
            ("source", pa.string()),
            ("caption_id", pa.uint64()),
            ("reject_reason", pa.string()),
            ("tries", pa.int32()),
        ]
    )


def verified_schema() -> Any:
    """Return the Arrow schema of what is known of a few tars: samples and rejects together, told by `reject_reason`."""
    index, rejects = index_schema(), rejects_schema()
    for name in ("reject_reason", "tries"):
        index = index.append(rejects.field(name))
    return index
