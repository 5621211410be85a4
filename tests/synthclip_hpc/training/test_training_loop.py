"""One rank's training: what a bad step leaves, what a stop leaves, and that a look now and then finds the same."""

from __future__ import annotations

import json
import re

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")

from synthclip_hpc.errors import UserError  # noqa: E402
from synthclip_hpc.training.data.samples import Broken  # noqa: E402
from synthclip_hpc.training.metrics import STEP_FIELDS  # noqa: E402
from tests.synthclip_hpc.training.one_rank import (  # noqa: E402
    STEPS,
    STEPS_AN_EPOCH,
    Ear,
    Training,
    batch_of,
    same,
    tensors,
)

pytestmark = pytest.mark.engines


ALONE = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}


@pytest.fixture(scope="module", autouse=True)
def alone():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ALONE.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> Training:
    training = Training(tmp_path_factory.mktemp("calm"), checkpoint_steps=3, keep_checkpoints=9)
    assert training.run() == STEPS
    return training


def losses(training: Training) -> list[float]:
    return [row["loss"] for row in training.rows()]


def test_each_step_is_told_once_and_follows_the_schedule(calm):
    rows = calm.rows()
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert [row["epoch"] for row in rows] == [0] * STEPS_AN_EPOCH + [1] * STEPS_AN_EPOCH
    assert [row["samples"] for row in rows] == [8 * step for step in range(1, STEPS + 1)]
    assert [row["lr"] for row in rows] == [calm.schedule.lr(step) for step in range(STEPS)]
    assert rows[0]["lr"] == calm.config.warmup_lr and max(row["lr"] for row in rows) == calm.config.lr
    assert all(row.keys() == set(STEP_FIELDS) and row["grad_norm"] > 0 for row in rows)


def test_looks_now_and_then_tell_the_same_as_looks_at_each_step(calm, tmp_path):
    rare = Training(tmp_path, checkpoint_steps=3)
    assert rare.run(look_steps=5) == STEPS
    assert rare.rows() == calm.rows()
    assert same(tensors(rare.step.state()), tensors(calm.step.state()))


@pytest.mark.parametrize("step", [3, 6])
def test_what_goes_on_from_a_checkpoint_is_what_went_on(calm, tmp_path, step):
    stopped = Training(tmp_path, checkpoint_steps=3, ear=Ear(before=step))
    assert stopped.run() == step
    assert stopped.checkpoints()[-1] == step
    resumed = Training(tmp_path, first=step).resume(step)
    assert resumed.run() == STEPS
    assert [*stopped.rows(), *resumed.rows()] == calm.rows()
    assert same(tensors(resumed.step.state()), tensors(calm.step.state()))


def test_a_stop_before_the_first_step_does_and_saves_nothing(tmp_path):
    training = Training(tmp_path, ear=Ear(before=0))
    before = tensors(training.step.state())
    assert training.run() == 0
    assert training.checkpoints() == [] and training.rows() == []
    assert same(before, tensors(training.step.state()))


def test_a_stop_between_checkpoints_saves_the_step_it_came_at(tmp_path):
    training = Training(tmp_path, ear=Ear(before=2))
    assert training.run() == 2
    assert training.checkpoints() == [2]
    assert same(tensors(training.saved(2)), tensors(training.step.state()))


def test_an_end_of_the_data_before_the_end_of_the_training_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.synthclip_hpc.training.one_rank.STEPS", 3)
    with pytest.raises(RuntimeError, match="the loader ended before step 3"):
        Training(tmp_path).run()


@pytest.mark.parametrize(
    ("bad", "look_steps", "precision"),
    [(2, 1, "float32"), (2, 4, "float32"), (5, 8, "bfloat16"), (3, 4, "float16"), (4, 8, "float16")],
)
def test_a_step_that_is_not_finite_leaves_the_state_before_it_and_names_its_samples(
    tmp_path, bad, look_steps, precision
):
    good = Training(tmp_path / "good", precision=precision, ear=Ear(before=bad))
    assert good.run() == bad
    training = Training(tmp_path / "bad", precision=precision, bad=bad)
    with pytest.raises(UserError) as error:
        training.run(look_steps)
    text = str(error.value)
    assert re.match(rf"step {bad + 1}: the loss is nan; the checkpoint of step {bad} is the state before it", text)
    listed = training.folder / f"bad-step-{bad + 1}.json"
    assert str(listed) in text and f"sample-{bad}-0, sample-{bad}-1" in text and "lower train.lr" in text
    assert json.loads(listed.read_bytes()) == [f"sample-{bad}-{number}" for number in range(8)]
    assert training.checkpoints()[-1] == bad
    # Whatever steps came between the bad one and the look: weights, optimiser, means of batch norms, loss scale.
    wanted = tensors(good.step.state())
    assert any("running_mean" in name for name in wanted) and any("exp_avg" in name for name in wanted)
    assert same(wanted, tensors(training.step.state()))
    saved = training.saved(bad)
    assert same(wanted, tensors(saved))
    assert saved["scaler"].get("scale") == good.step.state()["scaler"].get("scale")
    # The looks did happen behind the bad step.
    assert training.forwards == min(STEPS, -(-(bad + 1) // look_steps) * look_steps, _next_epoch(bad + 1))
    assert losses(training) == losses(good)


def _next_epoch(step: int) -> int:
    return -(-step // STEPS_AN_EPOCH) * STEPS_AN_EPOCH


def test_a_first_step_that_is_not_finite_is_told_without_a_checkpoint(tmp_path):
    training = Training(tmp_path, bad=0)
    with pytest.raises(
        UserError, match=r"^step 1: the loss is nan; no step was done before it; its samples are listed"
    ):
        training.run()
    assert training.checkpoints() == []


def test_gradients_that_are_not_finite_are_told_as_such(tmp_path):
    training = Training(tmp_path)
    training.model.visual.attnpool.c_proj.weight.register_hook(lambda grad: grad * torch.inf)
    before = tensors(training.step.state())
    with pytest.raises(UserError, match=r"^step 1: the gradients are not finite"):
        training.run()
    assert same(before, {name: one for name, one in tensors(training.step.state()).items() if name in before})


def test_a_checkpoint_that_is_due_behind_a_bad_step_is_not_saved(tmp_path):
    training = Training(tmp_path, bad=1, checkpoint_steps=1)
    with pytest.raises(UserError, match="the checkpoint of step 1 is the state before it"):
        training.run(look_steps=4)
    assert training.checkpoints() == [1]


def test_a_list_of_samples_that_cannot_be_written_does_not_hide_the_bad_step(tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("synthclip_hpc.training.records.replace_file", full)
    with pytest.raises(UserError) as error:
        Training(tmp_path, bad=1).run()
    assert "could not be listed" in str(error.value) and "No space left on device" in str(error.value)
    assert "sample-1-0" in str(error.value)


def test_a_save_under_way_is_not_torn_by_an_error(tmp_path, monkeypatch):
    training = Training(tmp_path, checkpoint_steps=2)
    monkeypatch.setattr("tests.synthclip_hpc.training.one_rank.STEPS", 2)
    with pytest.raises(RuntimeError, match="the loader ended"):
        training.run()
    assert training.checkpoints() == [2]


def test_broken_samples_are_passed_on_with_their_batch(tmp_path):
    training = Training(tmp_path, ear=Ear(before=4))
    training.broken = {2: [Broken(17, "no image")]}
    training.run()
    assert [(batch.step, batch.broken) for batch in training.told_broken] == [(2, [Broken(17, "no image")])]


def scalars_and_gradients(folder, **changes):
    training = Training(folder, **changes)
    told = training.step(0, *batch_of(0, training.config.batch_size))
    gradients = {name: one.grad.clone() for name, one in training.model.named_parameters()}
    return [float(one) for one in told], gradients


def test_parts_of_a_batch_give_the_gradients_of_the_whole_but_for_the_statistics_of_norms(tmp_path):
    # In evaluation mode batch norms do not look at the batch, and then nothing is left that parts could change.
    found = []
    for accumulate in (1, 4):
        training = Training(tmp_path, accumulate=accumulate)
        training.model.eval()
        told = training.step(0, *batch_of(0, 8))
        found.append((float(told.loss), {name: one.grad.clone() for name, one in training.model.named_parameters()}))
    (loss, whole), (same_loss, parts) = found
    assert loss == pytest.approx(same_loss, rel=1e-5)
    torch.testing.assert_close(parts, whole, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("changes", [{"checkpoint_activations": True}, {"channels_last": True}, {"loss": "full"}])
def test_what_saves_memory_or_time_changes_nothing_but_rounding(tmp_path, changes):
    plain, other = scalars_and_gradients(tmp_path), scalars_and_gradients(tmp_path, **changes)
    assert plain[0] == pytest.approx(other[0], rel=1e-3)
    torch.testing.assert_close(other[1], plain[1], rtol=2e-2, atol=1e-4)


def test_bfloat16_computes_in_it_and_keeps_float32(tmp_path):
    seen = []
    training = Training(tmp_path, precision="bfloat16")
    training.model.visual.register_forward_hook(lambda module, arguments, output: seen.append(output.dtype))
    told = training.step(0, *batch_of(0, 8))
    assert seen == [torch.bfloat16]
    assert told.loss.dtype == torch.float32
    state = tensors(training.step.state())
    assert {one.dtype for one in state.values() if one.is_floating_point()} == {torch.float32}
    single = scalars_and_gradients(tmp_path)[0]
    assert float(told.loss) == pytest.approx(single[0], rel=2e-2) and float(told.loss) != single[0]


def test_clipping_bounds_the_gradients_and_tells_their_length_before(tmp_path):
    (_, _, norm, _), plain = scalars_and_gradients(tmp_path)
    clip = norm / 10
    (_, _, told, _), clipped = scalars_and_gradients(tmp_path, grad_clip=clip)
    assert told == pytest.approx(norm, rel=1e-6)
    length = torch.stack([one.square().sum() for one in clipped.values()]).sum().sqrt()
    assert float(length) == pytest.approx(clip, rel=1e-3)
    torch.testing.assert_close(clipped, {name: one / 10 for name, one in plain.items()}, rtol=1e-3, atol=1e-7)


def test_gradients_that_overflow_with_a_loss_scale_halve_it_and_the_training_goes_on(tmp_path):
    training = Training(tmp_path, precision="float16")
    before = tensors(training.step.state()["model"])
    turn = {"overflow": torch.inf}
    training.model.visual.attnpool.c_proj.weight.register_hook(lambda grad: grad * turn["overflow"])
    scale = training.step.state()["scaler"]["scale"]
    assert not float(training.step(0, *batch_of(0, 8)).bad)
    assert training.step.state()["scaler"]["scale"] == scale / 2
    after = tensors(training.step.state()["model"])
    learned = [name for name in before if "running" not in name and "num_batches" not in name]
    assert all(torch.equal(before[name], after[name]) for name in learned)
    turn["overflow"] = 1.0
    # A few more halvings may be needed until nothing overflows.
    assert not any(float(training.step(step, *batch_of(step, 8)).bad) for step in range(1, STEPS))
    after = tensors(training.step.state()["model"])
    assert not all(torch.equal(before[name], after[name]) for name in learned)
