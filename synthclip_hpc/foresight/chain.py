"""The forecast of a whole command: every phase it is about, those included whose size is known only later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sharding.plan import load_plan
from synthclip_hpc.config import RunConfig, with_values
from synthclip_hpc.errors import UserError
from synthclip_hpc.foresight.forecast import Forecast, forecast
from synthclip_hpc.foresight.pace import find_pace
from synthclip_hpc.foresight.shape import device_of, shape_of
from synthclip_hpc.launch.chain import Link, is_sealed, missing_shards
from synthclip_hpc.pipeline import find_phase
from synthclip_hpc.run import Run
from synthclip_hpc.stages.balance.shared import num_captions
from synthclip_hpc.stages.phase import LayoutLater, Sources

if TYPE_CHECKING:
    from synthclip_hpc.launch.arrays import Target


def target_of(config: RunConfig, cluster: str) -> Target | None:
    """Return what a cluster's jobs would ask for; None for local processes."""
    if cluster == "local":
        return None
    from synthclip_hpc.launch.arrays import find_target

    return find_target(config, cluster)


def forecast_link(
    run: Run, link: Link, config: RunConfig, target: Target | None, other: Run | None = None, *, is_later: bool = False
) -> Forecast:
    """Return what is left to do of one phase and what it will cost."""
    missing = [] if run.exists() and is_sealed(run, link) else _missing(run, link)
    shape = shape_of(link, config, target, len(missing))
    pace = find_pace(run, link.phase, config, shape.devices, other, device_of(link.phase, config, target))
    return forecast(link.phase.key, link.plan, pace, shape, missing, config.slurm.gpu_watts, is_later=is_later)


def forecast_chain(
    run: Run,
    links: Sequence[Link],
    config: RunConfig,
    target: Target | None,
    *,
    later: Sequence[str] = (),
    other: Run | None = None,
) -> list[Forecast]:
    """Return a forecast of each link, and of each phase in `later` for the largest that it can get."""
    known = [forecast_link(run, link, config, target, other) for link in links]
    largest, most = _largest(run, config, later)
    return known + [forecast_link(run, link, most, target, other, is_later=True) for link in largest]


def _missing(run: Run, link: Link) -> list[int]:
    return missing_shards(run, link) if run.exists() else list(range(link.plan.num_shards))


def _largest(run: Run, config: RunConfig, later: Sequence[str]) -> tuple[list[Link], RunConfig]:
    """Lay out phases whose size is known only later as if every caption that comes in were kept.

    Returns them with the configuration that they were laid out from; none of them if even that cannot be known.
    """
    if not later:
        return [], config
    captions = _captions(run, config)
    target = min(captions, config.balance.target or captions)
    if not target:
        return [], config
    kept = {"balance.target": target, "balance.t": None, "balance.mode": "balanced", "balance.allow_short": False}
    most = with_values(config, kept)
    sources = Sources(most)
    found = []
    for key in later:
        stage, name = key.split("/")
        phase = find_phase(stage, name)
        try:
            found.append(Link(phase, phase.layout(most, sources)))
        except (LayoutLater, UserError):
            break  # the commands that will lay it out say what is wrong
    return found, most


def _captions(run: Run, config: RunConfig) -> int:
    """Return how many captions come in at most; 0 when nobody can tell."""
    planned = load_plan(run.phase("balance", "match"))
    if planned is not None:
        return planned.num_items
    try:
        return num_captions(config, Sources(config, run))
    except UserError:
        return 0
