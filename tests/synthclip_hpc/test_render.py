"""The render stage with a renderer of one's own: what is drawn, what is kept, and what is made again."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from synthclip_hpc.config import RenderConfig
from synthclip_hpc.rendering.drawing import image_seed
from synthclip_hpc.rendering.jpeg import jpeg_encoder
from synthclip_hpc.rendering.renderer import Request
from synthclip_hpc.rendering.samples import Item, Made, sample_members
from tests.synthclip_hpc import scripted_renderer
from tests.synthclip_hpc.app import App, made_once, same_set, tree

RENDERER = "render.renderer=tests.synthclip_hpc.scripted_renderer:open_scripted"
MERGED = "captions,balance,render,merge"
SHAPE = ("render.batch_items=4", "render.size=16", "render.device=cpu", "workers=1")
SET = (
    "concepts.bank=emoji", "concepts.limit=20", "captions.per_concept=2", "balance.target=25", "balance.shard_items=10",
)  # fmt: skip


@pytest.fixture(autouse=True)
def fresh_script():
    scripted_renderer.reset()
    yield
    scripted_renderer.reset()


def submit(run: App, *words: str, stage: str = "captions,balance,render"):
    return run("submit", f"stage={stage}", *SET, RENDERER, *SHAPE, *words)


def once(path: Path, stage: str = "captions,balance,render") -> App:
    """A finished run without special words, and nothing drawn by now."""

    def make(run: App) -> None:
        assert submit(run, stage=stage).code == 0

    run = made_once(path, [__name__, stage], make)
    scripted_renderer.reset()
    return run


def tars(run: Path) -> list[Path]:
    return sorted((run / "render/draw/data").rglob("*.tar"))


def members(run: Path) -> dict[str, bytes]:
    return members_of(tars(run))


def members_of(paths: Iterable[Path]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for path in sorted(paths):
        with tarfile.open(path) as tar:
            for member in tar:
                assert member.name not in found
                content = tar.extractfile(member)
                assert content is not None
                found[member.name] = content.read()
    return found


def balanced(run: Path) -> list[dict]:
    import pyarrow.parquet as pq

    paths = sorted((run / "balance/cut/data").rglob("*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def test_each_caption_of_the_set_has_its_own_image_text_and_record_in_order(app, at_once):
    outcome = submit(app)
    assert outcome.code == 0, outcome
    found, rows = members(app.path), balanced(app.path)
    assert len(rows) == 25
    assert list(found) == [f"{row['position']:09d}.{ending}" for row in rows for ending in ("jpg", "txt", "json")]
    encode = jpeg_encoder(RenderConfig(size=16))
    for row in rows:
        key = f"{row['position']:09d}"
        record = json.loads(found[f"{key}.json"])
        assert found[f"{key}.txt"].decode() == row["caption"] == record["caption"]
        assert record["caption_id"] == str(row["caption_id"])
        assert record["concepts"] == [row["concept"]]
        assert record["seed"] == image_seed(0, row["caption_id"], 0)
        pixels = scripted_renderer.noise(Request(row["caption"], record["seed"]), 16)
        assert found[f"{key}.jpg"] == encode(pixels)
    assert scripted_renderer.opened == ["opened", "closed"]
    assert len(scripted_renderer.asked) == 25


def test_equal_runs_are_equal_files_and_another_seed_gives_other_images(app, at_once, tmp_path):
    again, other = once(tmp_path / "again"), App(tmp_path / "other")
    assert submit(app).code == 0
    assert same_set(app.path) == same_set(again.path)
    assert submit(other, "seed=1").code == 0
    assert same_set(other.path) != same_set(app.path)


def test_what_stays_rejected_is_counted_with_its_reason_and_has_no_sample(app, at_once):
    assert submit(app, stage="captions,balance").code == 0
    rows = balanced(app.path)
    late, never = rows[3]["caption"], rows[12]["caption"]
    scripted_renderer.rejects |= {late: ("non_finite", 1), never: ("unsafe", 99)}
    assert submit(app, stage="render").code == 0
    found = members(app.path)
    assert json.loads(found["000000003.json"])["tries"] == 2
    assert "000000012.jpg" not in found
    reject = json.loads(found["__reject__/000000012"])
    assert (reject["reason"], reject["tries"], reject["caption_id"]) == ("unsafe", 3, str(rows[12]["caption_id"]))
    stage = app.status()["stages"]["render"]
    assert (stage["items_done"], stage["items_rejected"]) == (24, 1), stage


def test_an_attempt_goes_on_from_whole_batches_of_the_one_before(app, at_once, tmp_path):
    calm = once(tmp_path / "calm")
    scripted_renderer.dies_after.append(8)
    submit(app, "retries.errors=0")
    left = list((app.path / "render/draw/partial").rglob("*.part"))
    assert len(left) == 1
    first = [request.seed for request in scripted_renderer.asked]
    assert len(first) == 8
    assert app("resume").code == 0
    seeds = [request.seed for request in scripted_renderer.asked]
    assert len(seeds) == len(set(seeds)) == 25
    assert same_set(app.path) == same_set(calm.path)


@pytest.mark.parametrize("where", ["jpg", "txt", "json", "header"])
def test_a_partial_tar_with_one_wrong_byte_is_used_up_to_the_batch_before_it(app, at_once, tmp_path, where):
    calm = once(tmp_path / "calm")
    scripted_renderer.dies_after.append(8)
    submit(app, "retries.errors=0")
    (part,) = (app.path / "render/draw/partial").rglob("*.part")
    data = bytearray(part.read_bytes())
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        member = tar.getmember("000000005." + ("jpg" if where == "header" else where))
    at = member.offset + 3 if where == "header" else member.offset_data + member.size // 2
    data[at] ^= 1
    part.write_bytes(data)
    assert app("resume").code == 0
    seeds = [request.seed for request in scripted_renderer.asked]
    assert (len(seeds), len(set(seeds))) == (25 + 4, 25)
    assert same_set(app.path) == same_set(calm.path)


def test_tars_of_another_run_are_not_taken_for_this_ones(app, at_once, tmp_path):
    other = App(tmp_path / "other")
    assert submit(other, "seed=1").code == 0
    once(app.path)
    mine, foreign = tars(app.path)[1], tars(other.path)[1]
    before = same_set(app.path)
    mine.write_bytes(foreign.read_bytes())
    outcome = app("verify")
    assert outcome.code == 1
    assert "render/draw" in outcome.words
    assert app("repair").code == 0
    assert app("resume").code == 0
    assert same_set(app.path) == before


def test_a_truncated_tar_is_found_repaired_and_made_again(app, at_once):
    once(app.path)
    before = same_set(app.path)
    path = tars(app.path)[0]
    path.write_bytes(path.read_bytes()[:-2000])
    assert app("verify").code == 1
    assert app("repair").code == 0
    assert app("resume").code == 0
    assert same_set(app.path) == before


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("render.renderer=glyfs", "did you mean 'glyphs'"),
        ("render.renderer=no_such_module:open", "no_such_module"),
        ("render.size=0", "wanted a whole number from 1"),
        ("render.jpeg_quality=101", "wanted a whole number from 1 to 100"),
        ("render.jpeg_subsampling=4:1:1", "Valid: 4:2:0, 4:2:2, 4:4:4"),
        ("render.resample=cubic", "bicubic"),
        ("render.max_tries=0", "wanted a whole number from 1"),
        ("render.renderers=0", "wanted a whole number from 1"),
        ("render.items_per_s=-1", "wanted 0"),
        ("render.reuse=/nowhere", "name the directory of a run that is merged"),
    ],
)
def test_a_value_that_cannot_be_is_refused_before_anything_is_written(app, at_once, word, told):
    outcome = submit(app, word)
    assert outcome.code == 2
    assert word.partition("=")[0] in outcome.words
    assert told.casefold() in outcome.words.casefold()
    assert not (app.path / "render").exists()


@pytest.mark.parametrize("word", ["render.preset=sd15", "render.diffusion.model=stabilityai/sd-turbo"])
def test_a_pipeline_that_is_named_but_not_chosen_is_refused_in_place_of_a_set_of_emoji(app, at_once, word):
    outcome = app("submit", "stage=captions,balance,render", *SET, "render.device=cpu", word)
    assert outcome.code == 2
    assert f"{word}: render.renderer=glyphs uses no diffusion pipeline; add render.renderer=diffusion" in outcome.words
    left_out = "render.preset=None"
    outcome = app("submit", "stage=captions,balance,render", *SET, word, left_out, "render.diffusion.model=None",
                  "dry-run=true")  # fmt: skip
    assert outcome.code == 0, outcome


@pytest.mark.parametrize(
    "word", ["render.style=openmoji", "render.preset=lcm", "render.diffusion.steps=7", "render.glyphs.redrawn=0.25"]
)
def test_whatever_a_renderer_of_the_users_is_given_belongs_to_its_recipe(word):
    from synthclip_hpc.config import with_values
    from synthclip_hpc.rendering.registry import identity_of, recipe_of

    render = RenderConfig(renderer="my.module:open")
    key, _, value = word.removeprefix("render.").partition("=")
    other = with_values(render, {key: value})
    first, second = (recipe_of(identity_of(one, "exact", None)) for one in (render, other))
    assert first != second
    assert recipe_of(identity_of(with_values(render, {"renderers": 4}), "exact", None)) == first


@pytest.mark.parametrize("name", ["caption_id", "n", "seed", "crc32"])
def test_facts_of_a_renderer_never_take_the_place_of_what_is_known_of_a_sample(name):
    item = Item(3, 17, 5, "cat", 0, "a cat", "template", ("cat",))
    with pytest.raises(ValueError, match=f"must not be called {name}"):
        sample_members(item, Made(1, 1, "0" * 16, {"renderer": "own", name: "x"}), b"jpeg")


def merged(run: App, *words: str) -> App:
    assert submit(run, *words, stage=MERGED).code == 0
    return run


def records(run: Path) -> dict[str, tuple[bytes, dict]]:
    """Caption id -> (JPEG, record less what depends on the bank and the set)."""
    found = members(run)
    samples = [(found[name.replace(".json", ".jpg")], json.loads(found[name])) for name in found if ".json" in name]
    return {record["caption_id"]: (jpeg, record) for jpeg, record in samples}


def test_a_grown_run_takes_over_every_image_it_has_in_common_and_draws_only_the_others(app, at_once, tmp_path):
    small = once(tmp_path / "small", MERGED)
    calm = merged(App(tmp_path / "calm"), "balance.target=38")
    scripted_renderer.reset()
    assert "taken over" not in submit(app, "balance.target=38", f"render.reuse={small.path}", stage=MERGED).err
    old, new = records(small.path), records(app.path)
    common = old.keys() & new.keys()
    assert (len(old), len(new), len(common)) == (25, 38, 25)
    assert len(scripted_renderer.asked) == 38 - 25
    assert same_set(app.path) == same_set(calm.path)


def test_an_edited_bank_keeps_the_images_of_the_captions_that_stay(app, at_once, tmp_path):
    small = once(tmp_path / "small", MERGED)
    scripted_renderer.reset()
    # Another bank size gives other counts, other thresholds and another choice; what is equal is equal by its caption.
    merged(app, "concepts.limit=18", f"render.reuse={small.path}")
    old, new = records(small.path), records(app.path)
    common = old.keys() & new.keys()
    assert 0 < len(common) < 25
    assert len(scripted_renderer.asked) == 25 - len(common)
    assert {key: old[key][0] for key in common} == {key: new[key][0] for key in common}


@pytest.mark.parametrize("word", ["seed=1", "render.size=24", "render.jpeg_quality=80"])
def test_images_of_another_seed_or_recipe_are_not_taken_over(app, at_once, tmp_path, word):
    small = once(tmp_path / "small", MERGED)
    scripted_renderer.reset()
    outcome = submit(app, word, f"render.reuse={small.path}", "render.batch_items=5")
    assert outcome.code == 0
    assert len(scripted_renderer.asked) == 25
    key, _, value = word.partition("=")
    assert "none of its images can be taken over, all are drawn" in outcome.err
    told = [line for line in outcome.err.splitlines() if line.startswith("  ")]
    assert len(told) == 1 and told[0].startswith(f"  {key}: recorded ") and told[0].endswith(f"asked {value}")


def test_damaged_samples_of_the_other_run_are_drawn_again(app, at_once, tmp_path):
    small = once(tmp_path / "small", MERGED)
    before = members(small.path)
    path = tars(small.path)[0]
    data = bytearray(path.read_bytes())
    with tarfile.open(path) as tar:
        data[tar.getmember("000000002.jpg").offset_data + 100] ^= 1
        data[tar.getmember("000000003.json").offset_data] ^= 1  # no JSON any more
        data[tar.getmember("000000005.txt").offset_data] ^= 128  # no UTF-8 any more
    path.write_bytes(data)
    scripted_renderer.reset()
    assert submit(app, f"render.reuse={small.path}").code == 0
    assert len(scripted_renderer.asked) == 3
    assert members(app.path) == before


def test_an_image_of_a_later_try_is_not_taken_over_by_a_run_with_fewer_tries(app, at_once, tmp_path):
    small = App(tmp_path / "small")
    assert submit(small, stage="captions,balance").code == 0
    late = balanced(small.path)[3]["caption"]
    scripted_renderer.rejects[late] = ("unsafe", 1)
    merged(small)
    scripted_renderer.reset()
    scripted_renderer.rejects[late] = ("unsafe", 1)
    assert submit(app, f"render.reuse={small.path}", "render.max_tries=1").code == 0
    assert [request.caption for request in scripted_renderer.asked] == [late]
    assert "__reject__/000000003" in members(app.path)


def test_repair_after_the_merge_makes_the_data_set_again(app, at_once, tmp_path):
    calm = once(tmp_path / "calm", MERGED)
    once(app.path, MERGED)
    path = tars(app.path)[1]
    data = bytearray(path.read_bytes())
    data[900] ^= 1
    path.write_bytes(data)
    assert tree(app.path / "dataset") != tree(calm.path / "dataset")
    outcome = app("repair")
    assert "render/draw: reopened 1 shards: 1" in outcome.out
    assert "merge/index: reopened all 1 shards" in outcome.out
    assert app("resume").code == 0
    assert tree(app.path / "dataset") == tree(calm.path / "dataset")
    assert same_set(app.path) == same_set(calm.path)


@pytest.mark.parametrize("words", [(), ("merge.even=true",)])
def test_a_shard_that_comes_out_different_when_repaired_gives_another_data_set(app, at_once, monkeypatch, words):
    merged(app, *words)
    before = tree(app.path / "dataset")
    path = tars(app.path)[1]
    path.write_bytes(path.read_bytes()[:-512])
    assert app("repair").code == 0
    # As on another GPU: promised are items, not bytes.
    draw = scripted_renderer.noise
    monkeypatch.setattr(scripted_renderer, "noise", lambda request, size: draw(request, size) // 2)
    assert app("resume").code == 0
    after = tree(app.path / "dataset")
    changed = {name for name in before if before[name] != after[name]}
    assert "shards/00001.tar" in changed and "shards/00000.tar" not in changed
    assert app("verify").code == 0
    assert members_of(app.path.glob("dataset/shards/*.tar")) == members(app.path)
    checks = (app.path / "dataset/checksums.sha256").read_text().split("\n")
    assert f"{hashlib.sha256(after['shards/00001.tar'] or b'').hexdigest()}  shards/00001.tar" in checks


def test_paths_of_a_run_do_not_depend_on_where_a_later_command_is_typed(app, at_once, tmp_path, monkeypatch):
    small = once(tmp_path / "small", MERGED)
    monkeypatch.chdir(tmp_path)
    assert submit(app, "render.reuse=small", stage="captions,balance").code == 0
    assert app.run.load_config().render.reuse == str(small.path)
