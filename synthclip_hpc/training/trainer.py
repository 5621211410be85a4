"""From a submission to a training under way: what is opened, in which order, and where it goes on from."""

from __future__ import annotations

from contextlib import ExitStack, closing
from functools import partial
from typing import Any

import torch

from sharding.canonical import fingerprint
from sharding.inputs import load_inputs
from sharding.plan import Plan, load_plan
from synthclip_hpc.config import RunConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import Submission
from synthclip_hpc.training import places
from synthclip_hpc.training.broken_samples import BrokenSamples
from synthclip_hpc.training.checkpoints.loading import Checkpoint, load_state, newest_valid, open_checkpoint
from synthclip_hpc.training.checkpoints.saving import Saver
from synthclip_hpc.training.data.loader import open_loader
from synthclip_hpc.training.data.training_data import TrainingData, open_training_data
from synthclip_hpc.training.evaluated_epochs import evaluated_epochs
from synthclip_hpc.training.export import export_open_clip
from synthclip_hpc.training.identity import planned_model
from synthclip_hpc.training.loop import Loop
from synthclip_hpc.training.metrics import MetricsWriter
from synthclip_hpc.training.model import ModelConfig, build_model, find_init
from synthclip_hpc.training.normalization import PIXEL_STATISTICS
from synthclip_hpc.training.order import SampleOrder, parse_mix
from synthclip_hpc.training.ranks import Ranks
from synthclip_hpc.training.records import Records
from synthclip_hpc.training.rounds import Outcome, Round
from synthclip_hpc.training.schedule import Schedule
from synthclip_hpc.training.settings import check_world
from synthclip_hpc.training.sinks import Sinks, open_sinks
from synthclip_hpc.training.speed import Speed
from synthclip_hpc.training.step import Step
from synthclip_hpc.training.stop_word import StopEar
from synthclip_hpc.training.tokenizer import tokenizer_of


def train(run: Run, submission: Submission, attempt: str, number: int, ear: StopEar) -> Outcome:
    """Train as one rank, from the newest checkpoint to the end or to an agreed stop. Raises UserError and others."""
    config = submission.config
    directory = run.phase("train", "fit")
    plan, inputs = load_plan(directory), load_inputs(directory)
    if plan is None or inputs is None:
        raise UserError(f"train/fit has no plan, or is bound to no data set; run: resume run={run.path}")
    model_config = planned_model(dict(plan.identity), config.train.model)
    with ExitStack() as stack:
        ranks = Ranks(config.train.device, config.train.start_timeout_s, ear)
        check_world(config.train, ranks.count)
        data = stack.enter_context(closing(open_training_data([places.data_folder(run, config.train)])))
        order = _order(config, data)
        evaluated = frozenset(evaluated_epochs(config.eval.checkpoints, config.train.epochs))
        schedule = Schedule(config.train, order.steps_per_epoch, evaluated)
        inputs_hash = fingerprint(inputs)
        found = _newest(run, ranks, plan.hash, inputs_hash)
        step = 0 if found is None else found.step
        loader = stack.enter_context(_loader(config, model_config, data, order, schedule, ranks, step))
        taking = _step(config, model_config, schedule, ranks)
        if found is not None:
            taking.load_state(load_state(found, ranks.device))
        records = None
        if ranks.rank == 0:
            records = stack.enter_context(
                closing(
                    Records(
                        config.train,
                        schedule,
                        _saver(run, submission, f"{attempt}-{number}", ranks, plan.hash, inputs_hash),
                        MetricsWriter(places.metrics_file(run, attempt, number)),
                        _sinks(run, config, plan, step),
                        Speed(config.train, model_config, taking.bare, ranks),
                        partial(_samples_of, order, data),
                        step,
                    )
                )
            )
        broken = BrokenSamples(places.broken_file(run, attempt, number, ranks.rank), data)
        done = Loop(config.train, schedule, ranks, loader, taking, broken.add, records).run(step)
        finished = done == schedule.total_steps
        if finished and ranks.rank == 0:
            staged = places.staged_export(Round.of(directory, attempt, number))
            pixels = PIXEL_STATISTICS[config.train.normalize]
            export_open_clip(
                staged,
                model_config,
                taking.bare.state_dict(),
                mean=pixels.mean,
                std=pixels.std,
                interpolation=config.train.interpolation,
                image_size=model_config.image_size,
            )
        ranks.close()
    return Outcome("finished" if finished else "stopped", done)


def _order(config: RunConfig, data: TrainingData) -> SampleOrder:
    train = config.train
    return SampleOrder(
        config.seed,
        data.shards(),
        batch_size=train.batch_size,
        chunk_samples=train.chunk_samples,
        group_chunks=train.group_chunks,
        lanes=train.lanes,
        mix=parse_mix(train.mix, data.shards()) if train.mix else (),
    )


def _newest(run: Run, ranks: Ranks, plan_hash: str, inputs_hash: str) -> Checkpoint | None:
    """Return the checkpoint to go on from: rank 0's choice, which each rank reads and compares for itself."""
    folder, found = places.checkpoints(run), None
    told: tuple[str, int] = ("", -1)
    if ranks.rank == 0:
        try:
            found = newest_valid(folder, plan_hash=plan_hash, inputs_hash=inputs_hash)
            told = ("", -1 if found is None else found.step)
        except UserError as error:
            told = (str(error), -1)
    refused, step = ranks.from_first(told)
    if refused:
        raise UserError(refused)
    if found is None and step >= 0:
        found = open_checkpoint(folder, step, plan_hash=plan_hash, inputs_hash=inputs_hash)
    return found


def _saver(run: Run, submission: Submission, attempt: str, ranks: Ranks, plan_hash: str, inputs_hash: str) -> Saver:
    return Saver(
        places.checkpoints(run),
        plan_hash=plan_hash,
        inputs_hash=inputs_hash,
        attempt=attempt,
        keep=submission.config.train.keep_checkpoints,
        world_size=ranks.count,
        warn_after_s=submission.record.get("signal_lead_s"),
    )


def _sinks(run: Run, config: RunConfig, plan: Plan, step: int) -> Sinks:
    train = config.train
    return open_sinks(
        tensorboard=train.tensorboard,
        wandb=train.wandb,
        folder=run.path / "train",
        run_id=run.run_id(),
        first_step=step + 1,
        config=plan.identity,
    )


def _loader(
    config: RunConfig,
    model: ModelConfig,
    data: TrainingData,
    order: SampleOrder,
    schedule: Schedule,
    ranks: Ranks,
    step: int,
) -> Any:
    train = config.train
    return open_loader(
        data,
        order,
        first_step=step,
        last_step=schedule.total_steps,
        rank=ranks.rank,
        world_size=ranks.count,
        image_size=model.image_size,
        tokenizer=tokenizer_of(model),
        crop_min=train.crop_min,
        interpolation=train.interpolation,
        color_jitter=train.color_jitter,
        seed=config.seed,
        workers=train.loader_workers,
        prefetch_batches=train.prefetch_batches,
        pin_memory=train.device == "cuda",
    )


def _step(config: RunConfig, model_config: ModelConfig, schedule: Schedule, ranks: Ranks) -> Step:
    train = config.train
    init = find_init(train.init, model_config) if train.init else None
    bare = build_model(
        model_config,
        seed=config.seed,
        device=ranks.device,
        init=init,
        checkpoint_activations=train.checkpoint_activations,
    )
    ranks.take_from_first(bare.state_dict(keep_vars=True).values())
    if train.channels_last:
        bare = bare.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model = torch.compile(bare) if train.compile else bare
    return Step(train, config.seed, model, bare, schedule, ranks)


def _samples_of(order: SampleOrder, data: TrainingData, step: int) -> list[str]:
    """Return the names of the samples of a step's batch."""
    return [data.key(int(number)) for number in order.batch(step)]
