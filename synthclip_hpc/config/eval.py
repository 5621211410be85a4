"""How the trained model, or another one, is evaluated."""

# ruff: noqa: UP045
# Optional[X]: see slurm.py.

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from synthclip_hpc.config.roles import execution, identity

EVAL_TASKS = ("zero_shot", "linear_probe", "few_shot", "retrieval", "long_tail")
GLYPH_SETS = ("glyphs-twemoji", "glyphs-openmoji", "glyphs-twemoji-retrieval", "glyphs-openmoji-retrieval")
PROBES = ("lgssl", "clip_benchmark", "sklearn")


@dataclass(frozen=True)
class EvalConfig:
    """How the trained model, or another one, is evaluated."""

    datasets: str = identity("paper")
    """What to evaluate on, with a comma between: names of the catalogue (`cifar10`), its collections (`paper`,
    `robustness`), folders in CLIP_benchmark's layout, `glyphs-twemoji`, `glyphs-openmoji`,
    `glyphs-twemoji-retrieval`, `glyphs-openmoji-retrieval`."""
    tasks: str = identity("zero_shot,linear_probe,few_shot,retrieval")
    """Tasks, with a comma between: `zero_shot`, `linear_probe`, `few_shot`, `retrieval`, `long_tail`; each is run on
    the data sets that it fits."""
    checkpoints: str = identity("last")
    """Which of the run's own models: `last`, `all` (after each epoch), `every:N` (epochs), or `none`; the training
    keeps them."""
    model: Optional[str] = identity(None)
    """A model from elsewhere to evaluate as well: a name of open_clip's, a JSON file of its form, or a folder that
    open_clip loads."""
    pretrained: Optional[str] = identity(None)
    """Its weights: a tag of open_clip's or a file."""
    templates: str = identity("catalogue")
    """Prompts of `zero_shot`: `catalogue` (the data set's own), `simple7`, `openai80`, or a file."""
    probe: str = identity("lgssl")
    """How the linear probe is fitted: `lgssl` (the paper's), `clip_benchmark`, or `sklearn`."""
    episodes: int = identity(5000)
    """Episodes of `few_shot`."""
    glyph_images: int = identity(10)
    """Images of each class in a glyph set."""
    device: str = identity("cuda")
    """Where the models run: `cuda` or `cpu`."""
    precision: str = identity("fp32")
    """`fp32` (CLIP_benchmark's `--no_amp`), `amp_bf16` or `amp_fp16`."""
    threads: int = identity(1)
    """CPU threads of a cell: the order of a sum depends on them."""
    batch_items: int = identity(64)
    """Images, or texts, in one pass of the model: rounding depends on them. It halves when a GPU's memory runs out."""
    root: Optional[str] = execution(None)
    """Folder that holds the catalogue's data sets, one folder each (default: `$SYNTHCLIP_EVAL_DATA`)."""
    loader_workers: int = execution(2)
    """Processes that decode images (0 = none of their own)."""
    reuse: Optional[str] = execution(None)
    """Runs whose cells are taken over where model, data, protocol and versions are equal, with a comma between."""
