"""Which epochs' models are evaluated, how the training keeps them, and how they become cells."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from synthclip_hpc.config.train import TrainConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.training.evaluated_epochs import evaluated_epochs
from synthclip_hpc.training.schedule import Schedule


@pytest.mark.parametrize(
    ("checkpoints", "epochs"),
    [
        ("last", [40]),
        ("none", []),
        ("all", list(range(1, 41))),
        ("every:1", list(range(1, 41))),
        ("every:10", [10, 20, 30, 40]),
        ("every:15", [15, 30, 40]),
        ("every:40", [40]),
        ("every:100", [40]),
    ],
)
def test_the_epochs_follow_from_the_word(checkpoints, epochs):
    assert list(evaluated_epochs(checkpoints, 40)) == epochs


@pytest.mark.parametrize("checkpoints", ["first", "", "every:", "every:0", "every:-2", "every:x", "each:5", "5"])
def test_another_word_is_refused(checkpoints):
    with pytest.raises(UserError, match=f"eval.checkpoints={checkpoints}: not known"):
        evaluated_epochs(checkpoints, 40)


def test_the_training_marks_what_is_evaluated_beside_what_it_was_told_to_mark():
    train = TrainConfig(epochs=6)
    marked = [done for done in range(1, 61) if Schedule(train, 10, {2, 5}).is_marked(done)]
    assert marked == [20, 50, 60]
    both = Schedule(replace(train, mark_epochs=4), 10, {2, 5})
    assert [done for done in range(1, 61) if both.is_marked(done)] == [20, 40, 50, 60]
    assert [done for done in range(1, 61) if Schedule(train, 10).is_marked(done)] == [60]


# From here on with a model that is trained in this process.
torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")

from evals.model import open_model  # noqa: E402
from synthclip_hpc.evaluation.results import read_cells  # noqa: E402
from synthclip_hpc.sealing import last_errors  # noqa: E402
from synthclip_hpc.submissions import update  # noqa: E402
from tests.synthclip_hpc.eval_worlds import world  # noqa: E402
from tests.synthclip_hpc.training.trained_runs import checkpoints, merged, ranks_here, train  # noqa: E402

__all__ = ["ranks_here"]
EPOCHS = 3
WORDS = (f"train.epochs={EPOCHS}", "eval.device=cpu", "eval.loader_workers=0", "eval.tasks=zero_shot,retrieval")


@pytest.fixture
def place(tmp_path):
    return world(tmp_path / "world")


@pytest.mark.engines
@pytest.mark.timeout(300)
def test_each_checkpoint_is_a_model_with_cells_of_its_own(app, ranks_here, place):
    run = merged(app.path)
    sets = f"eval.datasets={place}/shapes,{place}/pairs"
    outcome = train(run, *WORDS, "eval.checkpoints=all", sets)
    assert outcome.code == 0, outcome
    assert [step for step in checkpoints(run) if step % 7 == 0] == [7, 14, 21]
    outcome = run("submit", "stage=eval", "wait=true", f"eval.model={place}/model")
    assert outcome.code == 0, outcome
    cells = read_cells(run.run)
    models = ["epoch-0001", "epoch-0002", "epoch-0003", "model"]
    assert [(cell.model, cell.dataset) for cell in cells] == [(m, d) for m in models for d in ("shapes", "pairs")]
    assert [cell.epoch for cell in cells[::2]] == [1, 2, 3, None]
    hashes = [cell.record["model"]["sha256"] for cell in cells[::2]]
    assert len(set(hashes)) == 4
    assert hashes[2] == open_model(f"local-dir:{run.path}/train/export", device="cpu").sha256
    state = torch.load(run.path / "train/checkpoints/step-00000014/state.pt", weights_only=True)["model"]
    from safetensors.torch import load_file

    second = load_file(run.path / "eval/models/data/000/00001.safetensors")
    assert second.keys() == state.keys()
    assert all(torch.equal(second[name], state[name]) for name in state)
    assert run("verify").code == 0


@pytest.mark.engines
@pytest.mark.timeout(300)
def test_epochs_that_the_training_has_not_kept_are_told_before_anything_is_submitted(app, ranks_here, place):
    run = merged(app.path)
    sets = f"eval.datasets={place}/shapes"
    assert train(run, *WORDS, sets, "train.mark_epochs=2").code == 0
    outcome = run("submit", "stage=eval", "wait=true", "eval.checkpoints=all")
    assert outcome.code == 2
    assert "of 1 of these epochs the training has kept no checkpoint (the first is epoch 1)" in outcome.words
    assert "there are those of epochs 2, 3" in outcome.words
    assert not (run.path / "eval").exists()
    assert run("submit", "stage=eval", "wait=true", "eval.checkpoints=every:2").code == 0
    assert [cell.model for cell in read_cells(run.run)] == ["epoch-0002", "epoch-0003"]


@pytest.mark.engines
@pytest.mark.timeout(300)
def test_a_damaged_checkpoint_is_refused_and_one_at_work_is_not_there(app, ranks_here, place):
    run = merged(app.path)
    words = (f"eval.datasets={place}/shapes", "eval.checkpoints=every:2")
    assert train(run, *WORDS, *words).code == 0
    whole = run.path / "train/checkpoints/step-00000014"
    at_work = whole.with_name(".step-00000014.4711_0_0.tmp")
    whole.rename(at_work)
    outcome = run("submit", "stage=eval", "wait=true")
    assert outcome.code == 2 and "the first is epoch 2" in outcome.words
    shutil.copytree(at_work, whole)
    state = whole / "state.pt"
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)
    run("submit", "stage=eval")  # without waiting: in this process nobody ends the phase behind the one that fails
    assert "state.pt has the sha256" in str(last_errors(run.run, "eval", "models"))
    shutil.rmtree(whole)
    at_work.rename(whole)
    for one in run.submissions():
        update(one, state="ended")
    assert run("resume", "wait=true").code == 0
    assert [cell.epoch for cell in read_cells(run.run)] == [2, 3]
