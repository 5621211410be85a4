"""What the images look like: some that the model was trained on, and some that it was evaluated on."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

from synthclip_hpc.errors import UserError
from synthclip_hpc.reporting.blocks import Block, Gallery, Picture, Section
from synthclip_hpc.run import Run

_SHOWN = 24
_SHOWN_OF_SET = 12
_SIDE_PX = 180
_QUALITY = 80


def samples_section(run: Run) -> Section | None:
    """Return the section; None when there is no image yet. Raises UserError when Pillow is not installed."""
    from synthclip_hpc.dataset.rendered_tars import RenderedTars

    blocks: list[Block] = []
    shown = RenderedTars(run.phase("render", "draw"), ".tar").spread(_SHOWN)
    pictures = _pictures((one.image, one.caption) for one in shown)
    if pictures:
        title, note = "Trained on", "Spread evenly over the run's images; below each its caption."
        blocks.append(Gallery("training-images", title, pictures, note))
    for folder in sorted((run.path / "eval" / "sets").glob("*/classnames.txt")):
        names = folder.read_text(encoding="utf-8").splitlines()
        found = _pictures(_of_set(folder.parent, names))
        if found:
            title = f"Evaluated on: {folder.parent.name}"
            blocks.append(Gallery(f"evaluated-{folder.parent.name}", title, found, "Below each the name of its class."))
    return Section("samples", "Images", tuple(blocks)) if blocks else None


def _pictures(samples: Iterable[tuple[bytes, str]]) -> tuple[Picture, ...]:
    return tuple(Picture(small, caption) for image, caption in samples if (small := _small(image)) is not None)


def _small(encoded: bytes) -> bytes | None:
    """Return the image as a small JPEG; None for one that cannot be decoded."""
    try:
        from PIL import Image
    except ImportError as error:
        raise UserError("the report's pictures need Pillow: pip install 'synthclip-hpc[report]'") from error
    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            image = opened.convert("RGB")
    except Exception:  # decoders raise whatever they like: SyntaxError, DecompressionBombError, OSError, ...
        return None
    image.thumbnail((_SIDE_PX, _SIDE_PX), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def _of_set(folder: Path, classes: list[str]) -> list[tuple[bytes, str]]:
    """Return (image, class name) of a few classes of an evaluation set, spread evenly over its first test tar."""
    from synthclip_hpc.dataset.contact_sheet import evenly

    first = min((folder / "test").glob("*.tar"), default=None, key=lambda path: (len(path.name), path.name))
    if first is None:
        return []
    with tarfile.open(first) as tar:
        members = {member.name: member for member in tar if member.isfile()}
        keys = sorted(name.rpartition(".")[0] for name in members if name.endswith(".cls"))
        found = []
        for place in evenly(len(keys), _SHOWN_OF_SET):
            image = next((members[name] for name in members if name in _images_of(keys[place])), None)
            label = _read(tar, members[f"{keys[place]}.cls"]).strip()
            if image is not None and label.isdigit() and int(label) < len(classes):
                found.append((_read(tar, image), classes[int(label)]))
    return found


def _images_of(key: str) -> tuple[str, ...]:
    return tuple(f"{key}.{suffix}" for suffix in ("jpg", "jpeg", "png", "webp"))


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return b"" if file is None else file.read()
