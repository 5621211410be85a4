"""What all kinds of housekeeping need to know of a run: which phases are sealed, what is alive, what is old."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from sharding.seal import SealError
from synthclip_hpc.launch.chain import Link, bound_links, is_sealed, started_stages
from synthclip_hpc.launch.liveness import living
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import Submission, all_submissions

CLOCK_SLACK_S = 600.0
"""A file server's clock may differ from ours, and a command that runs just now writes small files for an instant."""


@dataclass(frozen=True)
class Ground:
    """A run at one moment."""

    run: Run
    sealed: Sequence[Link]
    """The finished phases with their plans; one whose seal is damaged is not among them."""
    submissions: Sequence[Submission]
    alive: frozenset[str]
    """Names of the submissions that are at work or wait in a queue."""
    old_before: float
    """Seconds since 1970: what was written last before this belongs to nothing that is alive."""

    def ended_of(self, link: Link) -> list[Submission]:
        """Return the submissions of a phase that are over."""
        mine = [one for one in self.submissions if (one.stage, one.phase) == (link.phase.stage, link.phase.name)]
        return [one for one in mine if one.name not in self.alive]


def look_around(run: Run, *, assume_ended: bool = False) -> Ground:
    """Look at a run. Raises UserError when the queue cannot be asked what is alive, unless `assume_ended`."""
    submissions = all_submissions(run)
    alive = living(submissions, assume_ended=assume_ended)
    # No attempt is older than its submission.
    oldest = min((float(one.record["created"]) for one in alive), default=time.time())
    return Ground(
        run,
        [link for link in bound_links(run, started_stages(run)) if _is_sealed(run, link)],
        submissions,
        frozenset(one.name for one in alive),
        oldest - CLOCK_SLACK_S,
    )


def _is_sealed(run: Run, link: Link) -> bool:
    try:
        return is_sealed(run, link)
    except SealError:
        return False  # for verify to tell, and nothing of it goes
