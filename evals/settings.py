"""The options that all tasks with a model and a data set share, and what a result says of both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from evals.errors import EvalError
from evals.features import Extraction, image_versions
from evals.folder import DataFolder, Split, open_folder
from evals.model import ClipModel, open_model
from evals.session import opened


@dataclass(frozen=True, kw_only=True)
class ModelAndData:
    """Which model is measured on which data, and how features are made."""

    data: Annotated[str, "folder of the data set, in CLIP_benchmark's WebDataset layout"]
    model: Annotated[str, "open_clip's name, a JSON file of its form, local-dir:FOLDER or hf-hub:NAME"]
    pretrained: Annotated[str, "tag or file of weights; a folder brings its own"] = ""
    split: Annotated[str, "split of the data set that is measured"] = "test"
    images: Annotated[int | None, "number of images that the split must have; none: any"] = None
    device: Annotated[str, "auto, cpu, cuda or cuda:NUMBER"] = "auto"
    precision: Annotated[
        Literal["fp32", "amp_bf16", "amp_fp16"], "fp32 is CLIP_benchmark's --no_amp; amp_fp16 its default on a GPU"
    ] = "fp32"
    batch_size: Annotated[int, "images, or texts, in one pass of the model"] = 64
    workers: Annotated[int | None, "processes that decode images; none: one a core; 0: in this process"] = None
    cache: Annotated[str, "folder in which features are kept for other tasks; empty: they are not kept"] = ""

    def opened(self) -> tuple[ClipModel, DataFolder, Split]:
        """Open the data first, which is cheap, then the model. Raises EvalError."""
        if self.batch_size < 1:
            raise EvalError(f"batch_size={self.batch_size}: valid are whole numbers from 1 on")
        if self.workers is not None and self.workers < 0:
            raise EvalError(f"workers={self.workers}: valid are whole numbers from 0 on, and none")
        folder = open_folder(self.data)
        split = folder.split(self.split)
        split.check_count(self.images)
        words = (self.model, self.pretrained, self.device, self.precision)
        return opened(words, lambda: open_model(*words)), folder, split

    def extraction(self) -> Extraction:
        """How features are made."""
        return Extraction(self.batch_size, self.workers, Path(self.cache).expanduser() if self.cache else None)


def described(
    options: ModelAndData, model: ClipModel, folder: DataFolder, split: Split, how: Extraction
) -> dict[str, Any]:
    """Return what every result says of its model and data: hashes; paths, device and versions in `provenance`.

    `how` is what the features were made with.
    """
    import open_clip
    import torch

    return {
        "data": {
            "split": split.name,
            "images": len(split.images),
            "sha256": split.key,
            "texts_sha256": folder.text_key,
        },
        "model": {"name": options.model, "pretrained": options.pretrained, **model.identity},
        "preprocess": model.preprocess_config,
        "precision": model.precision,
        "batch_size_used": how.batch_size_used,
        "provenance": {
            "data": str(folder.path),
            "device": str(model.device),
            "torch": torch.__version__,
            "open_clip": open_clip.__version__,
            **image_versions(),
        },
    }
