"""How many samples there are to train on, as far as it is known before anything is submitted."""

from __future__ import annotations

import json
from pathlib import Path

from synthclip_hpc.config import RunConfig
from synthclip_hpc.dataset.columns import SHARDS, SIZES
from synthclip_hpc.errors import UserError
from synthclip_hpc.run import Run
from synthclip_hpc.stages.train.mix import source_names
from synthclip_hpc.training import places


def samples_an_epoch(config: RunConfig, run: Run | None) -> int | None:
    """Return the samples of an epoch: of the mix, or of a data set that is there; None while nobody can tell.

    With a cap on a source it may be some more than there are: tars are counted as a whole.
    """
    if config.train.mix is not None:
        from synthclip_hpc.training.mixing import read_mix

        return sum(one.num_samples for one in read_mix(config.train.mix, source_names(config)))
    if config.train.data is not None:
        return _in(places.named_folder(config.train.data)) if places.is_indexed(config.train) else None
    return _in(run.path / places.DATASET) if run is not None else None


def check_batch(config: RunConfig, run: Run | None) -> None:
    """Raise UserError when it is known already that an epoch has not one whole batch."""
    samples = samples_an_epoch(config, run)
    if samples is not None and samples < config.train.batch_size:
        raise UserError(
            f"train.batch_size={config.train.batch_size}: an epoch has {samples:,} samples, so not one whole batch; "
            f"make it {samples} at most, or train on more data (a training that was planned already keeps its batch: "
            "then in a new run)"
        )


def _in(folder: Path) -> int | None:
    try:
        sizes: dict[str, int] = json.loads((folder / SHARDS / SIZES).read_bytes())
    except (OSError, ValueError):
        return None
    return sum(sizes.values())
