"""Stage `balance`: from raw captions to a globally shuffled, exactly sized, concept-balanced set (paper, section 3.2).

match   map over captions     which concepts each names; written sorted by text
unique  map over text ranges  exact duplicates of a text removed
count   one task              how many captions name each concept
score   map over text ranges  the threshold at which each caption enters; written in shuffled order
select  one task              the threshold that gives the size wanted
cut     map over the set      positions and even shards, read as slices of what `score` wrote
coverage  one task            the accounting of all captions, and which concepts they cover before and after

Two phases exchange everything with everything through files sorted by a 64-bit key (sharding.exchange): a task writes
one file and reads its own key range of every other's. No result depends on how many files or tasks there are.
"""

from __future__ import annotations

from synthclip_hpc.stages.balance import count, coverage, cut, match, score, select, unique

PHASES = (match.PHASE, unique.PHASE, count.PHASE, score.PHASE, select.PHASE, cut.PHASE, coverage.PHASE)
