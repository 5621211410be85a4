"""Several renderers in one worker: the same bytes as with one, and ends of every kind lose nothing."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sharding.journal import read_events
from synthclip_hpc.config import RunConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.launch.chain import local_workers
from synthclip_hpc.pipeline import phases_of
from synthclip_hpc.place import Place
from synthclip_hpc.rendering.renderer import Picture, Request
from tests.synthclip_hpc.app import App, made_once, same_set
from tests.synthclip_hpc.scripted_renderer import ScriptedRenderer

OWN = "render.renderer=tests.synthclip_hpc.test_render_lanes:open_troubled"
SHAPE = (
    "concepts.bank=emoji", "concepts.limit=20", "captions.per_concept=3", "balance.target=48", "balance.shard_items=8",
    "render.batch_items=2", "render.size=16", "render.device=cpu", "workers=1",
)  # fmt: skip
NUM_SHARDS = 6


class Troubled(ScriptedRenderer):
    """Has trouble with captions that the file `$RENDER_TROUBLE` names: `{caption: kind}`; `once` leaves a mark.

    What it has drawn is noted beside that file, a caption a line.
    """

    def draw(self, batch: Sequence[Request]) -> list[Picture]:
        path = os.environ.get("RENDER_TROUBLE")
        trouble: dict[str, str] = json.loads(Path(path).read_text()) if path else {}
        for request in batch:
            kind = trouble.get(request.caption, trouble.get("every caption"))
            if kind == "killed once" and not (mark := Path(f"{path}.mark")).exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if kind == "full disk":
                raise OSError(28, "No space left on device")
            if kind == "slow":
                time.sleep(0.1)
        pictures = super().draw(batch)
        if path:
            with Path(path + ".drawn").open("a") as drawn:
                drawn.write("".join(f"{request.caption}\n" for request in batch))
        return pictures


def open_troubled(render: Any) -> Troubled:
    return Troubled(render.size)


@pytest.fixture
def trouble(tmp_path, monkeypatch):
    """Say which captions are trouble, and of which kind."""

    def write(kinds: dict[str, str]) -> None:
        path = tmp_path / "trouble.json"
        path.write_text(json.dumps(kinds))
        monkeypatch.setenv("RENDER_TROUBLE", str(path))

    return write


@pytest.fixture
def calm(app, at_once) -> App:
    """The run of one renderer without trouble."""
    return made_once(app.path.with_name("calm"), [__name__], submit)


def submit(app: App, *words: str, stage: str = "captions,balance,render", renderer: str = OWN) -> None:
    assert app("submit", f"stage={stage}", *SHAPE, renderer, *words).code == 0


def captions(run: App) -> list[str]:
    import pyarrow.parquet as pq

    paths = sorted((run.path / "balance/cut/data").rglob("*.parquet"))
    return [caption for path in paths for caption in pq.read_table(path).column("caption").to_pylist()]


def events(app: App, kind: str) -> list[dict[str, Any]]:
    paths = sorted((app.path / "render/draw/journals").glob("*.jsonl"))
    return [event for path in paths for event in read_events(path)[0] if event["event"] == kind]


def drawn() -> list[str]:
    """Every caption that was drawn with trouble about, as often as it was."""
    return sorted(Path(os.environ["RENDER_TROUBLE"] + ".drawn").read_text().splitlines())


def test_three_renderers_draw_the_same_bytes_as_one_in_one_attempt_and_one_journal(app, calm, trouble):
    trouble({"every caption": "slow"})
    submit(app, "render.renderers=3")
    assert same_set(app.path) == same_set(calm.path)
    assert len(events(app, "ready")) == 1
    assert sorted(event["shard"] for event in events(app, "shard_done")) == list(range(NUM_SHARDS))
    [journal] = (app.path / "render/draw/journals").glob("local*_0_0.jsonl")
    order = [event["event"] for event in read_events(journal)[0] if event["event"] in ("shard_start", "shard_done")]
    assert order[:3] == ["shard_start"] * 3


def test_two_renderers_draw_the_same_glyphs_as_one(app, at_once, tmp_path):
    calm = App(tmp_path / "calm")
    for run, number in ((calm, 1), (app, 2)):
        submit(run, f"render.renderers={number}", "render.size=32", renderer="render.renderer=glyphs")
    assert same_set(app.path) == same_set(calm.path)
    assert len(events(app, "shard_done")) == NUM_SHARDS


def test_a_killed_renderer_fails_its_shard_and_the_others_go_on_and_resume_completes(app, calm, trouble):
    trouble({captions(calm)[8 * 3 + 5]: "killed once"})
    submit(app, "render.renderers=2")
    [failed] = events(app, "shard_failed")
    assert (failed["shard"], failed["type"]) == (3, "RendererDied")
    assert "was ended by SIGKILL" in failed["message"]
    assert sorted(event["shard"] for event in events(app, "shard_done")) == [0, 1, 2, 4, 5]
    assert app("resume").code == 0
    assert sorted(event["resumed_items"] for event in events(app, "shard_start") if event["shard"] == 3) == [0, 4]
    assert same_set(app.path) == same_set(calm.path)
    assert drawn() == sorted(captions(calm))


def test_a_renderer_that_was_killed_is_opened_again_for_the_next_shards(app, calm, trouble):
    trouble({"every caption": "killed once"})
    submit(app, "render.renderers=2", "retries.errors=2")
    num_failed = len(events(app, "shard_failed"))
    assert num_failed in (1, 2)  # both may have looked for the mark before it was there
    assert len(events(app, "shard_done")) == NUM_SHARDS - num_failed
    assert app("resume").code == 0
    assert same_set(app.path) == same_set(calm.path)


def test_an_error_that_ends_all_lanes_keeps_what_the_others_have_drawn(app, calm, trouble):
    kinds = dict.fromkeys(captions(calm), "slow")
    trouble(kinds | {captions(calm)[4]: "full disk"})
    submit(app, "render.renderers=3", "retries.errors=100")
    [end] = [event for event in events(app, "end") if event["reason"] == "error"]
    assert (end["type"], "No space left" in end["message"]) == ("OSError", True)
    assert [event["shard"] for event in events(app, "shard_failed")] == [0]
    assert 4 <= len(drawn()) < 48
    trouble({})
    assert app("resume").code == 0
    assert same_set(app.path) == same_set(calm.path)
    assert drawn() == sorted(captions(calm))


def test_lanes_take_images_of_another_run_over_together(app, calm, tmp_path, trouble):
    submit(calm, stage="merge")
    trouble({"every caption": "full disk"})  # nothing may be drawn
    submit(app, "render.renderers=3", f"render.reuse={calm.path}")
    assert sum(event["items"] for event in events(app, "reused")) == 48
    assert same_set(app.path) == {
        name: digest for name, digest in same_set(calm.path).items() if not name.startswith("merge/")
    }


def test_a_worker_with_renderers_takes_so_many_cores_and_gpus(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(16)))
    monkeypatch.setattr("synthclip_hpc.launch.chain.local_place", lambda: Place("local", num_gpus=8))
    [draw] = phases_of("render")
    config = RunConfig()
    glyphs = replace(config, render=replace(config.render, renderers=4))
    cuda = replace(config, render=replace(glyphs.render, renderer="diffusion"))
    threaded = replace(config, render=replace(config.render, threads=8))
    assert [local_workers(one, draw) for one in (config, glyphs, cuda, threaded)] == [16, 4, 2, 2]
    assert [draw.gpus(one) for one in (config, glyphs, cuda)] == [0, 0, 4]
    with pytest.raises(UserError, match="workers=3: each takes 4 of the 8 GPUs here; use workers=2"):
        local_workers(replace(cuda, workers=3), draw)
