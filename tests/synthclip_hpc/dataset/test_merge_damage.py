"""What comes in damaged is told with file and byte, and what to do; what is killed is made again to the same bytes."""

from __future__ import annotations

import errno
import json
import os
import struct

import pytest

from sharding.seal import load_seal
from synthclip_hpc.dataset import folder as dataset_folder
from synthclip_hpc.dataset.sources import find_sources, split_sources
from synthclip_hpc.errors import UserError
from synthclip_hpc.sealing import last_errors
from synthclip_hpc.submissions import update
from tests.synthclip_hpc.app import App, tree
from tests.synthclip_hpc.dataset.rendered import Member, balanced, jpeg, merge, render, sample, shard_members, write_tar

pytestmark = pytest.mark.usefixtures("at_once")


def changed(place: int, name: str | None = None, content: bytes | None = None):
    """A damage: in shard 1 member `place` gets another name or content."""

    def change(shard: int, members: list[Member]) -> list[Member]:
        if shard == 1:
            members[place] = (name or members[place][0], members[place][1] if content is None else content)
        return members

    return change


def swapped(shard: int, members: list[Member]) -> list[Member]:
    return members[3:6] + members[:3] + members[6:] if shard == 1 else members


def missing(shard: int, members: list[Member]) -> list[Member]:
    return members[3:] if shard == 1 else members


def replaced(key: str, value: object):
    def change(shard: int, members: list[Member]) -> list[Member]:
        if shard == 1:
            record = json.loads(members[5][1]) | {key: value}
            members[5] = (members[5][0], json.dumps(record).encode())
        return members

    return change


DAMAGES = {
    "a cut JPEG": (changed(3, content=jpeg(1)[:-9]), "000000011.jpg is no whole JPEG"),
    "no JPEG": (changed(3, content=b"GIF89a"), "000000011.jpg is no whole JPEG"),
    "torn JSON": (changed(5, content=b'{"caption_id": "1", '), "000000011.json is no JSON"),
    "JSON of two objects": (changed(5, content=b"{}{}"), "000000011.json is no JSON"),
    "no object": (changed(5, content=b"[]"), "no JSON object"),
    "another caption": (changed(4, content=b"something else"), "000000011.txt is not the caption"),
    "another id": (replaced("caption_id", "17"), "000000011.json has caption_id '17'"),
    "another record": (replaced("caption", "a cat"), "000000011.json has caption 'a cat'"),
    "another recipe": (replaced("recipe", "f" * 16), "is of recipe ffffffffffffffff"),
    "no seed": (replaced("seed", None), "lacks a seed"),
    "a duplicate": (changed(6, name="000000011.jpg"), "occurs twice"),
    "out of order": (swapped, "out of order"),
    "a missing item": (missing, "1 of 10 items are missing, the first is 000000010"),
    "another key": (changed(3, name="000000099.jpg"), ""),
    "an escape": (changed(3, name="../000000011.jpg"), ".."),
    "absolute": (changed(3, name="/000000011.jpg"), "absolute"),
    "something else": (changed(5, name="000000011.xml"), "not jpg, txt, json"),
}


def end_all(app: App) -> None:
    """Say of what was submitted that it has ended, as the supervisor of a killed worker does."""
    for one in app.submissions():
        update(one, state="ended")


def errors_of(app: App, phase: str = "verify") -> str:
    return " ".join(last_errors(app.run, "merge", phase).values())


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told_with_file_and_byte_and_how_to_reopen(app, damage):
    change, told = DAMAGES[damage]
    balanced(app)
    render(app, change=change)
    app("submit", "stage=merge")
    error = errors_of(app)
    assert told in error
    assert "00001.tar, byte " in error
    assert f"repair stage=render run={app.path}" in error
    assert not (app.path / "dataset").exists()


def test_the_quick_way_and_the_thorough_one_find_the_same(app, tmp_path):
    from sharding import ustar
    from synthclip_hpc.dataset.own_members import as_written, scanned

    balanced(app)
    members = shard_members(app, 1, "0" * 16, {12, 19})
    content = ustar.members(members) + ustar.END
    keys = [f"{position:09d}" for position in range(10, 20)]
    found = as_written(content, keys)
    assert found == scanned(content, tmp_path / "x.tar", keys)
    assert found is not None
    assert (found.samples, found.rejects) == ([0, 1, 3, 4, 5, 6, 7, 8], [2, 9])
    assert found.contents(content, "jpg") == [content for name, content in members if name.endswith(".jpg")]
    for byte in (0, 5, 10, 12, 130, len(content) - 1):
        damaged = bytearray(content)
        damaged[byte] ^= 1
        assert as_written(bytes(damaged), keys) is None, byte
    assert as_written(content[:-512], keys) is None
    assert as_written(content, keys[:-1]) is None
    assert as_written(content, [*keys, "000000020"]) is None


@pytest.mark.parametrize(
    ("byte", "told"), [(5, "checksum"), (105, "checksum"), (800, "000000010.jpg or 000000010.json is damaged")]
)
def test_a_flipped_bit_anywhere_is_told_with_its_place(app, byte, told):
    balanced(app)
    render(app)
    path = app.run.phase("render", "draw").data_path(1, ".tar")
    data = bytearray(path.read_bytes())
    data[byte] ^= 1
    path.write_bytes(data)
    app("submit", "stage=merge")
    assert "00001.tar, byte " in errors_of(app)
    assert told in errors_of(app)


def test_a_flipped_bit_is_found_repaired_and_the_set_is_that_of_a_run_without(app, tmp_path):
    other = App(tmp_path / "other")
    for one in (app, other):
        balanced(one)
        render(one)
    merge(other)
    path = app.run.phase("render", "draw").data_path(1, ".tar")
    data = bytearray(path.read_bytes())
    data[800] ^= 1  # inside a JPEG
    path.write_bytes(data)
    app("submit", "stage=merge")
    assert "00001.tar, byte 512: 000000010.jpg or 000000010.json is damaged" in errors_of(app)
    end_all(app)
    repaired = app("repair", "stage=render")
    assert "render/draw: reopened 1 shards: 1" in repaired.out
    render(app)
    outcome = app("resume")
    assert outcome.code == 0, outcome
    assert tree(app.path / "dataset") == tree(other.path / "dataset")


@pytest.mark.parametrize("words", [(), ("merge.even=true",)])
def test_killed_at_any_effect_it_is_made_again_to_the_same_bytes(app, tmp_path, monkeypatch, words):
    """The index task dies at its points in turn: before the links, among them, before and behind the renames."""
    whole = App(tmp_path / "whole")
    for one in (app, whole):
        balanced(one)
        render(one, frozenset({7}))
    merge(whole, *words)
    calls = {"link": dataset_folder.link, "exchange": dataset_folder.exchange, "finish": dataset_folder.finish}
    lives = 0
    for name, function in calls.items():
        for after in (0, 1, 4) if name == "link" else (0, 1):
            count = iter(range(100))

            def dying(*given, function=function, count=count, after=after):
                if next(count) == after:
                    raise KeyboardInterrupt
                result = function(*given)
                if after == 1:
                    raise KeyboardInterrupt  # behind it
                return result

            monkeypatch.setattr(dataset_folder, name, dying)
            app("resume" if lives else "submit", *([] if lives else ["stage=merge", *words]))
            end_all(app)
            monkeypatch.setattr(dataset_folder, name, function)
            assert next(count) >= 1, "was not reached"
            lives += 1
            assert load_seal(app.run.phase("merge", "index")) is None
    outcome = app("resume")
    assert outcome.code == 0, outcome
    assert tree(app.path / "dataset") == tree(whole.path / "dataset")
    assert not list((app.path / "merge/index").glob("partial/*"))


def test_a_data_set_that_stands_there_is_replaced_as_a_whole(app):
    balanced(app)
    render(app)
    (app.path / "dataset/shards").mkdir(parents=True)
    (app.path / "dataset/old.txt").write_text("of an earlier attempt")
    merge(app)
    assert not (app.path / "dataset/old.txt").exists()
    assert len(list((app.path / "dataset/shards").iterdir())) == 6


def test_without_hard_links_the_set_is_of_relative_links_and_moves_with_its_run(app, tmp_path, monkeypatch):
    balanced(app)
    render(app)
    real = os.link

    def refuse(source, target, **options):
        if "dataset-" in str(target):
            raise OSError(errno.EPERM, "no hard links here")
        real(source, target, **options)

    monkeypatch.setattr("os.link", refuse)
    merge(app)
    moved = tmp_path / "moved"
    app.path.rename(moved)
    for name in ("shards/00000.tar", "shards/00004.tar", "index.parquet"):
        link = moved / "dataset" / name
        assert link.is_symlink()
        assert not os.path.isabs(link.readlink())
        assert link.stat().st_size > 0


@pytest.mark.parametrize("lost", ["dataset", "shards/00002.tar", "README.md", "a word in README.md"])
def test_a_data_set_that_is_lost_or_changed_is_found_and_made_again(app, lost):
    balanced(app)
    render(app, frozenset({3}))
    merge(app)
    folder = app.path / "dataset"
    whole = tree(folder)
    assert app("verify").code == 0
    if lost == "dataset":
        folder.rename(app.path / "elsewhere")
    elif lost.startswith("a word"):
        (folder / "README.md").write_text((folder / "README.md").read_text() + "mine")
    else:
        (folder / lost).unlink()
    outcome = app("verify")
    assert outcome.code == 1
    assert "merge/index: 1 of 1 shards done, 1 problems" in outcome.out
    assert (lost if "." in lost and " " not in lost else str(folder)) in outcome.out
    assert "merge/index: reopened 1 shards" in app("repair").out
    assert app("resume").code == 0
    assert tree(folder) == whole
    assert app("verify").code == 0


def test_a_damaged_tar_of_equal_size_is_found_and_written_again(app):
    balanced(app)
    render(app, frozenset({3}))
    merge(app, "merge.even=true")
    whole = tree(app.path / "dataset")
    path = app.path / "dataset/shards/00001.tar"
    data = bytearray(path.read_bytes())
    data[800] ^= 1  # inside a JPEG
    path.write_bytes(data)
    assert "00001.tar is not as it was written" in app("verify").out
    assert "merge/index: reopened 1 shards" in app("repair").out
    assert app("resume").code == 0
    assert tree(app.path / "dataset") == whole
    assert app("verify").code == 0


@pytest.mark.parametrize("hard", [True, False])
def test_tars_that_are_links_and_a_run_behind_a_link_are_linked_to_the_files_themselves(
    app, source, tmp_path, monkeypatch, hard
):
    hub = tmp_path / "hub"
    (hub / "snapshot").mkdir(parents=True)
    blob = (source / "00000.tar").rename(hub / "blob")
    (hub / "snapshot/00000.tar").symlink_to("../blob")
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "here").symlink_to("a/b")
    linked = App(tmp_path / "here/run")
    balanced(linked)
    render(linked)
    real = os.link

    def link(given, target, **options):
        if not hard and "dataset-" in str(target):
            raise OSError(errno.EXDEV, "another file system")
        real(given, target, **options)

    monkeypatch.setattr("os.link", link)
    merge(linked, f"merge.sources={hub}/snapshot")
    for number in range(6):
        tar = linked.path / f"dataset/shards/{number:05d}.tar"
        assert tar.is_symlink() != hard
        target = linked.run.phase("render", "draw").data_path(number, ".tar") if number < 5 else blob
        assert tar.samefile(target)


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "photos"
    write_tar(folder / "00000.tar", [one for n in range(5) for one in sample(f"{n}", jpeg(n), f"photo {n}")])
    return folder


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("{photos}:0", "no whole number from 1 on"),
        ("{photos}:many", "no whole number from 1 on"),
        ("{photos}:-3", "no whole number from 1 on"),
        ("{photos}:", "no number behind the colon"),
        ("{photos},", "a name is missing"),
        ("{photos}/none", "no such folder"),
        ("{empty}", "no .tar file"),
        ("{run}", "this is a run"),
    ],
)
def test_sources_that_cannot_be_are_refused_before_any_work(app, source, tmp_path, given, told):
    (tmp_path / "empty").mkdir()
    balanced(app)
    text = given.format(photos=source, empty=tmp_path / "empty", run=app.path)
    outcome = app("submit", "stage=merge", "upstream=true", f"merge.sources={text}")
    assert outcome.code == 2
    assert "merge.sources=" in outcome.err
    assert told in outcome.err
    assert not (app.path / "merge").exists()


def test_unusable_samples_of_a_source_are_counted_and_its_tars_stay(app, source):
    broken = [
        *sample("a", jpeg(1)[:-20], "cut off"),
        ("b.txt", b"no image"),
        ("c.jpg", jpeg(2)),
        ("d.jpg", jpeg(2)),
        ("d.json", b"{torn"),
        ("e.png", jpeg(2)),
        ("e.txt", b"not what its name says"),
        *sample("f", jpeg(3), "good", caption_id="77", seed=5),
    ]
    path = write_tar(source / "00001.tar", broken)
    balanced(app)
    render(app)
    merge(app, f"merge.sources={source}")
    import pyarrow.parquet as pq

    folder = app.path / "dataset"
    rejects = pq.read_table(folder / "rejects.parquet").to_pylist()
    assert {(row["key"], row["reject_reason"]) for row in rejects} == {
        ("a", "damaged_image"),
        ("b", "no_image"),
        ("c", "no_caption"),
        ("d", "damaged_json"),
        ("e", "damaged_image"),
    }
    rows = pq.read_table(folder / "index.parquet").to_pylist()
    assert [(row["key"], row["caption_id"], row["seed"]) for row in rows[47:]] == [
        *((str(n), None, None) for n in range(5)),
        ("f", 77, 5),
    ]
    assert (folder / "shards/00006.tar").samefile(path)
    card = (folder / "README.md").read_text()
    assert "| render | 47 | 0 |" in card and "| photos | 6 | 5 |" in card
    assert "| photos | damaged_image | 2 |" in card


@pytest.mark.parametrize("damage", ["cut", "checksum", "duplicate"])
def test_a_damaged_tar_of_a_source_is_told(app, source, damage):
    path = source / "00000.tar"
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[:3000]
    elif damage == "checksum":
        data[10] ^= 1
    else:
        write_tar(path, sample("x", jpeg(1), "one") + sample("x", jpeg(2), "two"))
        data = bytearray(path.read_bytes())
    path.write_bytes(data)
    balanced(app)
    render(app)
    app("submit", "stage=merge", f"merge.sources={source}")
    error = errors_of(app)
    assert "merge.sources" in error
    assert "00000.tar, byte " in error
    assert "repair" not in error


def test_a_source_that_changes_behind_the_plan_is_refused(app, source):
    write_tar(source / "00001.tar", [("a.jpg", b"no image")])
    balanced(app)
    render(app)
    app("submit", "stage=merge", f"merge.sources={source}")
    before = find_sources(str(source), "merge.sources")[0].identity()
    write_tar(source / "00001.tar", sample("a", jpeg(1), "now whole"))
    assert find_sources(str(source), "merge.sources")[0].identity() != before
    outcome = app("submit", "stage=merge", f"merge.sources={source}")
    assert outcome.code == 2
    assert "fingerprint" in outcome.err


def test_a_cap_takes_as_many_tars_as_it_needs(source):
    for number in range(1, 4):
        write_tar(source / f"0000{number}.tar", [one for n in range(5) for one in sample(f"{n}", jpeg(n), "x")])
    assert [len(find_sources(f"{source}:{cap}", "merge.sources")[0].tars) for cap in (1, 5, 6, 20, 99)] == [
        1,
        1,
        2,
        4,
        4,
    ]
    assert split_sources(f"{source}:7, {source}", "merge.sources") == [(str(source), 7), (str(source), None)]
    with pytest.raises(UserError, match="no whole number"):
        split_sources(f"{source}:{struct.calcsize('Q')}x", "merge.sources")
