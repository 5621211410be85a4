"""What tells one model from another by its files: cheaply, and without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sharding.canonical import fingerprint
from sharding.files import checksum
from synthclip_hpc.fingerprints import sample_file
from synthclip_hpc.models.safetensors_file import sample_tensors

_TENSOR_SAMPLES_BYTES = 32 << 20
"""Read of all safetensors files together."""
_SAMPLES = 64
_MIN_SAMPLES = 8


def fingerprint_files(folder: Path, whole: Sequence[str], sampled: Sequence[str]) -> str:
    """Return one sha256 over the content of `whole` files and over samples of the `sampled` ones.

    Of a safetensors file it takes size, header and samples out of every tensor, some 32 MiB over all files; of another
    one size and evenly spaced chunks, 4 MiB over all files. That tells another model, a fine-tune or half a download in
    a moment, however large the model; it proves nothing about a single flipped bit. Folder, time stamps and symbolic
    links do not count.
    """
    content = {name: list(checksum(folder / name)) for name in whole}
    for name in sampled:
        if name.endswith(".safetensors"):
            content[name] = sample_tensors(folder / name, _TENSOR_SAMPLES_BYTES // len(sampled))
        else:
            content[name] = sample_file(folder / name, max(_MIN_SAMPLES, _SAMPLES // len(sampled)))
    return fingerprint(content)
