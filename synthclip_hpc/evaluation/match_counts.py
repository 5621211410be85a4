"""How often the run's own training captions name a class: what the long-tail task has beside each accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from sharding.plan import load_plan
from sharding.seal import load_seal
from synthclip_hpc.config import RunConfig
from synthclip_hpc.run import Run

_ROWS = 50_000


def captions_of(run: Run, config: RunConfig) -> list[Path] | None:
    """Return the tables of the captions that the model was trained on; None where the run has not made them."""
    directory = run.phase("balance", "cut")
    plan = load_plan(directory)
    if config.train.data is not None or plan is None or load_seal(directory) is None:
        return None
    return [directory.data_path(shard, plan.suffix) for shard in range(plan.num_shards)]


def match_counts(tables: Sequence[Path], names: Sequence[str], case: str) -> dict[str, int]:
    """Return the number of captions that have each of the names in them, by the rule that balancing goes by.

    `case` is `balance.case`. Reads the column `caption` of the Parquet files, a piece at a time.
    """
    import numpy as np

    from synthclip_hpc.curation.matching import Matcher

    matcher = Matcher(names, case)
    counts = np.zeros(len(names), np.int64)
    for captions in _pieces(tables):
        counts += np.bincount(matcher.match(captions)[1], minlength=len(names))
    return dict(zip(names, counts.tolist(), strict=True))


def _pieces(tables: Sequence[Path]) -> Iterator[list[str]]:
    import pyarrow.parquet as pq

    for path in tables:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_ROWS, columns=["caption"]):
                yield batch.column(0).to_pylist()
