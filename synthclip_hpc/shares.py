"""Which of a submission's shards are an element's."""

from __future__ import annotations

from collections.abc import Iterable

from sharding.deal import deal, deal_weighted
from sharding.plan import Plan
from synthclip_hpc.stages.phase import Phase
from synthclip_hpc.submissions import Submission


def shares_of(submission: Submission, phase: Phase, plan: Plan, elements: Iterable[int]) -> dict[int, list[int]]:
    """Return, for each of the elements, the shards that it works through, in this order.

    Raises ValueError for an element that is not there.
    """
    shards = submission.shards()
    costs = None if phase.weights is None else phase.weights(plan)
    count = submission.num_elements
    if costs is None:
        return {one: deal(shards, count, one, contiguous=phase.contiguous) for one in elements}
    wanted = list(elements)
    if absent := [one for one in wanted if not 0 <= one < count]:
        raise ValueError(f"element must be in 0..{count - 1}, got {absent[0]}")
    # Cut once: each element's block costs as much to find as all of them.
    blocks = deal_weighted(shards, count, [costs[shard] for shard in shards])
    return {one: blocks[one] for one in wanted}
