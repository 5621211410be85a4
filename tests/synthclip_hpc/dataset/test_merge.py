"""The stage `merge`: what comes in is in the data set, exactly once and at the place that the index tells."""

from __future__ import annotations

import hashlib
import json
import subprocess

import pyarrow.parquet as pq
import pytest

from synthclip_hpc.dataset.index import DatasetIndex
from tests.synthclip_hpc.app import App, same_set, tree
from tests.synthclip_hpc.dataset.rendered import balanced, jpeg, merge, read_by_tarfile, render, sample, write_tar

pytestmark = pytest.mark.usefixtures("at_once")
REJECTS = frozenset({0, 3, 25, 46})


@pytest.fixture
def merged(app):
    balanced(app)
    render(app, REJECTS)
    merge(app)
    return app


def test_every_image_is_in_the_index_and_every_reject_is_told(merged):
    folder = merged.path / "dataset"
    by_tarfile = read_by_tarfile(folder / "shards")
    assert sorted(by_tarfile) == [f"{position:09d}" for position in range(47) if position not in REJECTS]
    with DatasetIndex.open(folder) as index:
        assert len(index) == 43
        found = [index.read(number) for number in range(len(index))]
        assert [one.key for one in found] == sorted(by_tarfile)
        for one in found:
            parts = by_tarfile[one.key]
            assert (one.image, one.txt.encode(), one.json) == (parts["jpg"], parts["txt"], parts["json"])
    rejects = pq.read_table(folder / "rejects.parquet").to_pylist()
    assert {(row["key"], row["reject_reason"], row["tries"]) for row in rejects} == {
        (f"{position:09d}", "unsafe", 3) for position in REJECTS
    }
    sizes = json.loads((folder / "shards/sizes.json").read_text())
    assert sizes == {"00000.tar": 8, "00001.tar": 10, "00002.tar": 9, "00003.tar": 10, "00004.tar": 6}


def test_the_tars_are_the_rendered_files_themselves(merged):
    for shard in range(5):
        ours = merged.path / f"dataset/shards/{shard:05d}.tar"
        assert ours.samefile(merged.run.phase("render", "draw").data_path(shard, ".tar"))
    assert (merged.path / "dataset/index.parquet").samefile(merged.run.phase("merge", "index").data_path(0, ".parquet"))


def test_sha256sum_finds_all_files_right(merged):
    folder = merged.path / "dataset"
    done = subprocess.run(
        ["sha256sum", "-c", "checksums.sha256"], cwd=folder, capture_output=True, text=True, check=True
    )
    told = {line.removesuffix(": OK") for line in done.stdout.splitlines()}
    assert told | {"checksums.sha256"} == {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    }


def test_captions_are_found_by_their_ids(merged):
    with DatasetIndex.open(merged.path / "dataset") as index:
        rows = index.rows(list(range(len(index)))).to_pylist()
        ids = [row["caption_id"] for row in rows]
        assert index.find([*ids[::-1], 12345]).tolist() == [*range(42, -1, -1), -1]
        assert json.loads(index.by_caption_id(ids[7]).json or b"")["caption_id"] == str(ids[7])
        assert {row["recipe"] for row in rows} == {json.loads(index.read(5).json or b"")["recipe"]}
        assert [json.loads(index.read(n).json or b"")["seed"] for n in (0, 42)] == [rows[0]["seed"], rows[42]["seed"]]
        with pytest.raises(KeyError):
            index.by_caption_id(12345)
        with pytest.raises(IndexError):
            index.read(43)


def test_two_runs_make_the_same_bytes_whatever_the_tasks(merged, tmp_path):
    other = App(tmp_path / "other")
    balanced(other)
    render(other, REJECTS)
    merge(other, "merge.task_shards=2")
    ours, theirs = tree(merged.path / "dataset"), tree(other.path / "dataset")
    assert len(ours) == 13
    assert ours == theirs
    text = b"".join(content for name, content in ours.items() if content and not name.endswith((".tar", ".png")))
    assert str(tmp_path).encode() not in text


def test_a_tar_without_samples_is_left_out_and_the_numbers_have_no_gap(app):
    balanced(app)
    render(app, frozenset(range(10, 20)))
    merge(app)
    folder = app.path / "dataset"
    assert sorted(path.name for path in (folder / "shards").glob("*.tar")) == [f"{n:05d}.tar" for n in range(4)]
    with DatasetIndex.open(folder) as index:
        assert [index.read(number).key for number in range(37)] == [
            f"{position:09d}" for position in (*range(10), *range(20, 47))
        ]
    assert pq.read_table(folder / "rejects.parquet").column("tar").to_pylist() == [None] * 10


def test_nothing_but_rejects_is_an_error_and_no_data_set(app):
    balanced(app)
    render(app, frozenset(range(47)))
    outcome = app("submit", "stage=merge")
    assert "every image was rejected" in json.dumps(app.status())
    assert not (app.path / "dataset").exists(), outcome


def test_sources_come_behind_with_their_caps_and_their_own_names(app, tmp_path):
    balanced(app)
    render(app, REJECTS)
    for owner in ("a", "b"):
        for tar in range(3):
            keys = [f"{tar}-{n}" for n in range(4)]
            members = [one for n, key in enumerate(keys) for one in sample(key, jpeg(n + tar), f"{owner} {key}")]
            write_tar(tmp_path / owner / "photos" / f"{tar:05d}.tar", members)
    merge(app, f"merge.sources={tmp_path}/a/photos,{tmp_path}/b/photos:6")
    folder = app.path / "dataset"
    with DatasetIndex.open(folder) as index:
        rows = index.rows(range(len(index))).to_pylist()
        texts = [index.read(number).txt for number in range(43, len(index))]
    assert [(row["source"], row["tar"], row["key"]) for row in rows[43:]] == [
        *(("photos", 5 + tar, f"{tar}-{n}") for tar in range(3) for n in range(4)),
        *(("photos-2", 8 + n // 4, f"{n // 4}-{n % 4}") for n in range(6)),
    ]
    assert texts == [f"a {tar}-{n}" for tar in range(3) for n in range(4)] + [f"b {n // 4}-{n % 4}" for n in range(6)]
    sizes = json.loads((folder / "shards/sizes.json").read_text())
    assert [sizes[f"{n:05d}.tar"] for n in range(5, 10)] == [4] * 5  # the capped tar is whole
    assert len(sizes) == 10
    card = (folder / "README.md").read_text()
    assert "| render | 43 | 4 | 00000.tar to 00004.tar |" in card
    assert "| photos-2 (the first of it, at most 6) | 6 | 0 | 00008.tar to 00009.tar |" in card
    assert "| render | unsafe | 4 |" in card
    assert "license: other" in card


def test_even_tars_hold_the_same_samples_in_equal_numbers(merged, tmp_path):
    write_tar(tmp_path / "more/x.tar", [one for n in range(6) for one in sample(f"k{n}", jpeg(n), f"more {n}")])
    webp = [("z.json", b'{"caption": "told by the record"}'), ("z.png", b"\x89PNG\r\n\x1a\n----IEND\xaeB`\x82")]
    write_tar(tmp_path / "more/y.tar", webp)
    app = App(tmp_path / "even")
    balanced(app)
    render(app, REJECTS)
    merge(app, "merge.even=true", f"merge.sources={tmp_path}/more")
    folder = app.path / "dataset"
    sizes = json.loads((folder / "shards/sizes.json").read_text())
    assert list(sizes.values()) == [10] * 5
    even, before = read_by_tarfile(folder / "shards"), read_by_tarfile(merged.path / "dataset/shards")
    assert {key: even[key] for key in before} == before
    added = sorted(even.keys() - before.keys())
    assert added == [f"{number:09d}" for number in range(47, 54)]
    assert [even[key]["txt"].decode() for key in added] == [*(f"more {n}" for n in range(6)), "told by the record"]
    with DatasetIndex.open(folder) as index:
        assert [index.read(n).txt.encode() for n in range(50)] == [even[key]["txt"] for key in sorted(even)]
    checks = (folder / "checksums.sha256").read_text()
    assert hashlib.sha256((folder / "shards/00004.tar").read_bytes()).hexdigest() in checks


def test_verify_and_status_know_the_stage(merged):
    outcome = merged("verify")
    assert outcome.code == 0, outcome
    assert "merge/index: 1 of 1 shards done, 0 problems" in outcome.out
    assert len(same_set(merged.path)) > 20
