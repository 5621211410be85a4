"""Features of every split of a data set as one .npz file, which linear_probe and few_shot take.

The arrays are `{train,val,test}_{features,labels}`, as far as the data set has these splits. The paper's probes see
the image tower in front of its projection: `layer=pre`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from evals.errors import EvalError
from evals.features import Extraction, image_features
from evals.files import write_whole
from evals.folder import SPLITS, DataFolder
from evals.layers import Layer
from evals.model import ClipModel
from evals.settings import ModelAndData, described

PROTOCOL = "open_clip's own evaluation transform; features neither normalised nor standardised"


@dataclass(frozen=True, kw_only=True)
class Options(ModelAndData):
    """What the task takes."""

    npz: Annotated[str, "file that the arrays are written to"]
    layer: Annotated[Layer, "pre: in front of the image tower's projection, as the paper's probes; post: behind it"] = (
        "pre"
    )


def split_arrays(
    model: ClipModel, folder: DataFolder, layer: Layer, how: Extraction
) -> dict[str, npt.NDArray[np.float32] | npt.NDArray[np.int64]]:
    """Return `{split}_features` [n, width] and `{split}_labels` [n] of the splits that there are. Raises EvalError."""
    found: dict[str, npt.NDArray[np.float32] | npt.NDArray[np.int64]] = {}
    for name in SPLITS:
        if folder.has(name):
            split = folder.split(name)
            folder.check_labels(split)
            found[f"{name}_features"] = image_features(model, split, (layer,), how)[layer]
            found[f"{name}_labels"] = split.labels
    return found


def run(options: Options) -> dict[str, Any]:
    """Write the file; return what is in it. Raises EvalError."""
    out = Path(options.npz).expanduser()
    if not out.absolute().parent.is_dir() or out.is_dir() or out.suffix != ".npz":
        raise EvalError(f"npz={options.npz}: no name of an .npz file in a folder that exists")
    model, folder, split = options.opened()
    how = options.extraction()
    arrays: dict[str, Any] = split_arrays(model, folder, options.layer, how)
    write_whole(out, lambda file: np.savez(file, **arrays))
    return {
        "task": Path(__file__).stem,
        "protocol": PROTOCOL,
        "metrics": {},
        "layer": options.layer,
        "arrays": {name: list(array.shape) for name, array in arrays.items()},
        **described(options, model, folder, split, how),
    }
