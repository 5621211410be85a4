"""Stage `train`: CLIP is trained on the images and captions.

index    map over tars   reads the tars of `train.data`; nothing to do for a data set that has an index
gather   one task        makes one data set of them; nothing to do either where there is one
fit      one job         trains on all nodes of the job, and exports the model
"""

from __future__ import annotations

from synthclip_hpc.stages.train import fit, gather, index

PHASES = (index.PHASE, gather.PHASE, fit.PHASE)
