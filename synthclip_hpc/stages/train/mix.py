"""A look at `train.mix` before anything is submitted: are its names those of sources?"""

from __future__ import annotations

from pathlib import Path

from synthclip_hpc.config import RunConfig
from synthclip_hpc.dataset.columns import INDEX, OWN_SOURCE
from synthclip_hpc.dataset.sources import named_sources
from synthclip_hpc.remembered import remembered, stamps
from synthclip_hpc.training import places

_VERSION = 1


def check_names_of_mix(config: RunConfig) -> None:
    """Raise UserError for a `train.mix` that is none, and for a name that no source will have.

    How many samples a source has is not looked at: it may not be known yet.
    """
    if config.train.mix is not None:
        from synthclip_hpc.training.mixing import read_mix

        read_mix(config.train.mix, source_names(config))


def source_names(config: RunConfig) -> list[str]:
    """Return what the sources of the data set that is trained on are called, in its order.

    By the configuration alone, or by the index of a finished data set. Raises UserError for a damaged index.
    """
    if config.train.data is None:
        own = named_sources(config.merge.sources, "merge.sources", (OWN_SOURCE,))
        return [OWN_SOURCE, *(source.name for source in own)]
    if places.is_indexed(config.train):
        folder = places.named_folder(config.train.data)
        names: list[str] = remembered("sources-of-index", [_VERSION, stamps([folder / INDEX])], lambda: _in(folder))
        return names
    return [source.name for source in named_sources(config.train.data, "train.data")]


def _in(folder: Path) -> list[str]:
    from contextlib import closing

    from synthclip_hpc.training.data.index_scan import open_index, runs

    with closing(open_index(folder)) as file:
        return list(dict.fromkeys(run.source for run in runs(file, folder)))
