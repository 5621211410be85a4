"""Stage `train`: CLIP is trained on the images and captions.

index   map over tars   finds the samples of `train.data`; nothing to do for a data set that has an index
fit     one job         trains on all nodes of the job, and exports the model
"""

from __future__ import annotations

from synthclip_hpc.stages.train import fit

PHASES = (fit.PHASE,)
