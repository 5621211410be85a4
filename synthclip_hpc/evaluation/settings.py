"""Which settings of an evaluation are valid. Without torch: `submit` looks at them."""

from __future__ import annotations

from synthclip_hpc.config.eval import EVAL_TASKS, GLYPH_SETS, PROBES, EvalConfig
from synthclip_hpc.errors import UserError, nearest
from synthclip_hpc.models.runtime import DEVICES

SEED = 0
"""Of episodes, probes and glyph sets, in every run: what is measured is the same for all models that are compared."""
PRECISIONS = ("fp32", "amp_bf16", "amp_fp16")
_CHOICES = {"device": DEVICES, "precision": PRECISIONS, "probe": PROBES}
_LEAST = {"episodes": 1, "glyph_images": 1, "threads": 1, "batch_items": 1, "loader_workers": 0}


def check_settings(settings: EvalConfig) -> None:
    """Raise UserError for the first value that cannot be."""
    for name, valid in _CHOICES.items():
        value = getattr(settings, name)
        if value not in valid:
            raise UserError(f"eval.{name}={value}: none of these{nearest(value, valid)}; valid: {', '.join(valid)}")
    for name, least in _LEAST.items():
        number = getattr(settings, name)
        if number < least:
            raise UserError(f"eval.{name}={number}: wanted a whole number from {least}")
    if settings.pretrained is not None and settings.model is None:
        raise UserError(
            f"eval.pretrained={settings.pretrained}: weights of which model? Name it: eval.model=ViT-B-16, or leave "
            "eval.pretrained out"
        )
    if settings.checkpoints == "none" and settings.model is None:
        raise UserError(
            "eval.checkpoints=none: then there is no model to evaluate; name one, such as eval.model=FOLDER"
        )


def tasks_of(settings: EvalConfig) -> tuple[str, ...]:
    """Return the tasks, in the order in which cells have them. Raises UserError for an unknown one, and for none."""
    asked = words(settings.tasks)
    for task in asked:
        if task not in EVAL_TASKS:
            raise UserError(
                f"eval.tasks={task}: no such task{nearest(task, EVAL_TASKS)}; valid: {', '.join(EVAL_TASKS)}"
            )
    if not asked:
        raise UserError(f"eval.tasks is empty: name one or more of {', '.join(EVAL_TASKS)}")
    return tuple(task for task in EVAL_TASKS if task in asked)


def glyph_sets_of(settings: EvalConfig) -> list[str]:
    """Return the built-in glyph sets that are named."""
    return [word for word in words(settings.datasets) if word in GLYPH_SETS]


def words(text: str) -> list[str]:
    """Return what stands between commas, each once."""
    return list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
