"""Stage `eval`: the run's own models, and one from elsewhere, are measured on data sets.

sets     one task          draws the built-in glyph sets; nothing to do where none is named
models   map over epochs   takes the weights of earlier epochs out of checkpoints; the last is exported already
cells    map               one model, one data set, one task: one table of numbers
"""

from __future__ import annotations

from synthclip_hpc.stages.eval import cells, models, sets

PHASES = (sets.PHASE, models.PHASE, cells.PHASE)
