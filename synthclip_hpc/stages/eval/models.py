"""Phase `models`: the weights of earlier epochs, out of the checkpoints that the training kept.

Items are epochs. The last one has none here: it is `train/export/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sharding.files import make_directory, replace_file
from sharding.marker import Counts
from sharding.plan import Plan, ShardRange
from synthclip_hpc.config import RunConfig
from synthclip_hpc.stages.phase import Estimate, Phase, ShardTask, Sources
from synthclip_hpc.training.evaluated_epochs import evaluated_epochs

if TYPE_CHECKING:
    from synthclip_hpc.run import Run

SUFFIX = ".safetensors"


def layout(config: RunConfig, sources: Sources) -> Plan:
    """One epoch a shard. Raises UserError when the training has not kept them."""
    epochs = earlier_epochs(config)
    if epochs and sources.run is not None:
        from synthclip_hpc.evaluation.checkpoints import check_kept

        check_kept(sources.run, epochs, config.eval.checkpoints)
    return Plan(
        stage="eval",
        phase="models",
        kind="map",
        num_items=len(epochs),
        shard_items=1,
        suffix=SUFFIX,
        identity={"epochs": epochs},
    )


def earlier_epochs(config: RunConfig) -> list[int]:
    """Return the epochs to evaluate before the last, rising: the items of this phase."""
    return list(evaluated_epochs(config.eval.checkpoints, config.train.epochs)[:-1])


@contextmanager
def open_exporter(config: RunConfig, run: Run, plan: Plan) -> Iterator[Callable[[ShardTask], None]]:
    """Yield the function that takes out the weights of one epoch."""
    from synthclip_hpc.models.runtime import prepare

    prepare(threads=1)
    from synthclip_hpc.evaluation.checkpoints import checkpoint_of
    from synthclip_hpc.training.checkpoints.loading import load_state
    from synthclip_hpc.training.export import weights_bytes

    def process(task: ShardTask) -> None:
        task.resumed(0)
        found = checkpoint_of(run, plan.identity["epochs"][task.shard.index])
        staged = task.directory.staged_path(task.shard.index, task.attempt, SUFFIX)
        make_directory(staged.parent)
        replace_file(staged, weights_bytes(load_state(found)["model"]))
        task.safe_point()
        task.publish(staged, Counts(1, 1, 0, {}))

    yield process


def inspect(run: Run, path: Path, plan: Plan, shard: ShardRange) -> Counts:
    """Look whether published weights are whole. Raises ValueError when they are not."""
    from synthclip_hpc.models.safetensors_file import is_whole

    if not is_whole(path):
        raise ValueError(f"{path} is cut short or damaged")
    return Counts(1, 1, 0, {})


PHASE = Phase(
    stage="eval",
    name="models",
    kind="map",
    upstream=lambda config: (("train", "fit"),) if earlier_epochs(config) else (),
    layout=layout,
    open=open_exporter,
    inspect=inspect,
    estimate=lambda config: Estimate((1e5, 2e9), (1, 60), "guessed: reading a checkpoint, writing a third of it"),
    promise=lambda config: "bytes",
    jobs_like="merge",
)
