"""Stage `merge`: the rendered shards, checked and indexed, become one data set, with further sources behind them.

verify  map over tars   reads each tar once: checksum, members, samples; writes what the index needs of them
index   one task        one index over all, and the folder `dataset/`: links to the tars, card, contact sheet, checksums
"""

from __future__ import annotations

from synthclip_hpc.stages.merge import index, verify

PHASES = (verify.PHASE, index.PHASE)
