"""Which of a submission's shards are an element's."""

from __future__ import annotations

from collections.abc import Iterable

from sharding.deal import deal
from sharding.plan import Plan
from synthclip_hpc.stages.phase import Phase
from synthclip_hpc.submissions import Submission


def shares_of(submission: Submission, phase: Phase, plan: Plan, elements: Iterable[int]) -> dict[int, list[int]]:
    """Return, for each of the elements, the shards that it works through, in this order.

    Raises ValueError for an element that is not there.
    """
    shards = submission.shards()
    costs = None if phase.weights is None else phase.weights(plan)
    weights = None if costs is None else [costs[shard] for shard in shards]
    count, contiguous = submission.num_elements, phase.contiguous
    return {one: deal(shards, count, one, contiguous=contiguous, weights=weights) for one in elements}
