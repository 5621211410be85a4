"""`sample`: a contact sheet of what a run has drawn, also in the middle of it."""

from __future__ import annotations

import io
import os

import pytest
from PIL import Image

from sharding.plan import load_plan
from synthclip_hpc.dataset.rendered_tars import RenderedTars
from tests.synthclip_hpc.dataset.rendered import balanced, render, shard_members, write_tar

pytestmark = pytest.mark.usefixtures("at_once")


@pytest.fixture
def rendered(app):
    balanced(app)
    render(app, frozenset({3}))
    return app


def keys_told(outcome) -> list[int]:
    assert outcome.code == 0, outcome
    return [int(line[:9]) for line in outcome.out.splitlines()[:-1]]


def test_evenly_chosen_images_come_from_all_over_the_set(rendered):
    outcome = rendered("sample", "n=16")
    keys = keys_told(outcome)
    assert len(keys) == 16
    assert keys == sorted(set(keys))
    assert (keys[0], keys[-1]) == (0, 46)
    assert {key // 10 for key in keys} == set(range(5))
    with Image.open(rendered.path / "report/sample.png") as sheet:
        assert sheet.size == (4 * 172, 4 * 214)


def test_given_keys_are_shown_in_their_order_and_others_are_told(rendered, tmp_path):
    out = tmp_path / "some" / "sheet.png"
    assert keys_told(rendered("sample", "keys=41,7,000000012", f"out={out}")) == [41, 7, 12]
    Image.open(io.BytesIO(out.read_bytes())).verify()
    for keys, told in (("3", "rejected"), ("47", "valid are 0 to 46"), ("x", "'x' is no position")):
        outcome = rendered("sample", f"keys={keys}")
        assert (outcome.code, told in outcome.err) == (2, True), outcome


def test_images_of_a_shard_in_the_making_are_shown_up_to_where_it_is_torn(rendered):
    directory = rendered.run.phase("render", "draw")
    plan = load_plan(directory)
    assert plan is not None
    members = shard_members(rendered, 2, plan.identity["recipe"], set())
    directory.data_path(2, ".tar").unlink()
    partial = write_tar(directory.partial_path(2, "7_0_0"), members)
    whole = partial.read_bytes()
    cut_at = whole.index(b"000000024.jpg") + 700
    partial.write_bytes(whole[:cut_at])
    now = partial.stat().st_mtime + 60
    os.utime(partial, (now, now))
    assert keys_told(rendered("sample", "newest=true", "n=6"))[:4] == [23, 22, 21, 20]
    assert keys_told(rendered("sample", "keys=21")) == [21]
    assert "not drawn yet" in rendered("sample", "keys=24").err
    assert not {20, 21, 22, 23, 24} & set(keys_told(rendered("sample", "n=30")))
    for shard in (0, 1, 3, 4):
        directory.data_path(shard, ".tar").unlink()
    assert keys_told(rendered("sample", "n=30")) == [20, 21, 22, 23]


def test_a_shard_that_is_finished_or_reopened_between_the_listing_and_the_look_does_no_harm(rendered):
    directory = rendered.run.phase("render", "draw")
    partial = directory.partial_path(2, "7_0_0")
    partial.parent.mkdir(parents=True, exist_ok=True)
    finished = directory.data_path(2, ".tar").rename(partial)
    tars = RenderedTars(directory, ".tar")
    finished.rename(directory.data_path(2, ".tar"))
    assert [one.key for one in tars.of(2, ["000000021"])[0]] == ["000000021"]
    assert [one.key for one in tars.newest(47)].count("000000029") == 1
    directory.data_path(2, ".tar").unlink()
    assert tars.of(2, ["000000021"]) == ([], [])
    assert len(tars.newest(47)) == 36


def test_a_run_without_images_says_what_to_do(app):
    balanced(app)
    outcome = app("sample")
    assert outcome.code == 2
    assert "submit stage=render" in outcome.err
    for words in (["n=0"], ["newest=true", "keys=1"]):
        assert app("sample", *words).code == 2
