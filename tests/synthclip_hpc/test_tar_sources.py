"""Captions in WebDatasets: those that any other source would give, samples without one counted, nothing extracted."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from sharding.ids import item_id
from synthclip_hpc.curation import source_tars
from synthclip_hpc.curation.braces import expand_braces
from synthclip_hpc.curation.sources import find_source, refuse_unusable
from synthclip_hpc.errors import UserError
from tests.synthclip_hpc.test_balance import rows_of

Members = list[tuple[str, bytes]]


def put_tar(path: Path, members: Members, **options: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as tar:  # type: ignore[call-overload]
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def samples(count: int, first: int = 0) -> Members:
    """Each with an image and a .txt, like what img2dataset writes; every third with its caption in the .json alone."""
    members = []
    for number in range(first, first + count):
        members.append((f"{number:06d}.jpg", bytes(number % 700)))
        if number % 3:
            members.append((f"{number:06d}.txt", f"a cat {number}".encode()))
        members.append((f"{number:06d}.json", json.dumps({"caption": f"a cat {number}", "n": 1}).encode()))
    return members


def captions(count: int, first: int = 0) -> list[str]:
    return [f"a cat {number}" for number in range(first, first + count)]


def test_a_folder_of_tars_gives_the_captions_of_all_in_the_order_of_their_names(tmp_path):
    put_tar(tmp_path / "d" / "01.tar", samples(30, 50))
    put_tar(tmp_path / "d" / "00.tar", samples(50))
    (tmp_path / "d" / "notes.md").write_text("not read")
    source = find_source(tmp_path / "d")
    table, rejects = source.read(0, source.num_rows)
    assert table.column("caption").to_pylist() == captions(80)
    assert table.column("caption_id").to_pylist() == [item_id("caption", text) for text in captions(80)]
    assert not rejects
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == ["00.tar", "01.tar", "notes.md"]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("mark_rows", [1, 3, 1024])
def test_every_range_of_samples_is_that_part_of_the_whole(tmp_path, monkeypatch, mark_rows, form):
    monkeypatch.setattr(source_tars, "MARK_ROWS", mark_rows)
    long = "é" * 40 + "/" + "y" * 90  # needs a header of its own in GNU's and in the POSIX form
    members = [(f"{long}{name}" if form != tarfile.USTAR_FORMAT else name, data) for name, data in samples(10)]
    source = find_source(put_tar(tmp_path / "a.tar", members, format=form))
    assert source.num_rows == 10
    for start in range(11):
        for stop in range(start, 11):
            table, _ = source.read(start, stop)
            assert table.column("caption").to_pylist() == captions(stop - start, start)


def test_a_sample_without_a_caption_is_a_counted_reject_and_the_text_file_goes_first(tmp_path):
    members = [
        ("a.jpg", b"image"),  # no caption
        ("b.txt", b"from the text\n"),
        ("b.json", b'{"caption": "from the json"}'),
        ("c.json", b'{"caption": "from the json"}'),
        ("d.json", b'{"caption": null}'),  # no caption
        ("e.json", b"{broken"),  # no caption
        ("f.json", b'["a list"]'),  # no caption
        ("g.txt", b"\xff\xfe"),
        ("h.txt", b"  \n"),
        ("i.TXT", b"in capitals\r\n"),
        ("j.seg.txt", b"another extension"),  # no caption
        ("dir/k.txt", b"in a folder"),
        ("dir.with.dots/k.txt", b"in another"),
        ("._k.txt", b"left by a file manager"),
        ("README", b"no extension"),
        ("l.txt", b"one"),
        ("l.txt", b"again"),
        ("m.json", b'{"caption": "\\ud800"}'),
    ]
    path = put_tar(tmp_path / "a.tar", members)
    source = find_source(path)
    table, rejects = source.read(0, source.num_rows)
    wanted = ["from the text", "from the json", "in capitals", "in a folder", "in another", "one", "again"]
    assert table.column("caption").to_pylist() == wanted
    assert rejects == {"no_caption": 5, "invalid_utf8": 2, "empty": 1}
    assert source.num_rows == len(wanted) + rejects.total()


def test_a_source_of_images_alone_is_refused_with_what_was_looked_for(tmp_path):
    source = find_source(put_tar(tmp_path / "a.tar", [("a.jpg", b"1"), ("b.jpg", b"2")]), "source")
    _, rejects = source.read(0, 2)
    with pytest.raises(UserError, match=r"^source=.*none of its 2 rows is a caption \(2 no caption\).*a \.txt, or"):
        refuse_unusable(source, rejects)


def test_members_are_counted_once_until_the_tar_changes(tmp_path, monkeypatch):
    path = put_tar(tmp_path / "a.tar", samples(20))
    walks = []
    walk = source_tars._samples

    def counting(*args, **more):
        walks.append(args)
        return walk(*args, **more)

    monkeypatch.setattr(source_tars, "_samples", counting)
    assert [find_source(path).num_rows for _ in range(3)] == [20] * 3
    assert len(walks) == 1
    put_tar(path, samples(21))
    assert find_source(path).num_rows == 21
    assert len(walks) == 2


def test_a_tar_of_the_same_size_and_time_with_a_sample_more_is_counted_anew(tmp_path):
    path = tmp_path / "a.tar"
    found = []
    for count in (20, 21):
        put_tar(path, samples(count))
        os.utime(path, ns=(0, 0))
        found.append((find_source(path).num_rows, path.stat().st_size))
    assert [rows for rows, _ in found] == [20, 21]
    assert found[0][1] == found[1][1]  # tars are filled up to whole records


def test_a_damaged_memory_is_not_believed_and_one_that_cannot_be_written_does_no_harm(tmp_path, monkeypatch):
    path = put_tar(tmp_path / "a.tar", samples(20))
    memory = tmp_path / "memory"
    monkeypatch.setattr("synthclip_hpc.remembered.remembering_folder", lambda: memory)
    assert find_source(path).num_rows == 20
    [kept] = memory.glob("tar-index/*.json")
    for damage in (b"", kept.read_bytes().replace(b"20", b"21"), b"[1]"):
        kept.write_bytes(damage)
        assert find_source(path).num_rows == 20
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("synthclip_hpc.remembered.remembering_folder", lambda: tmp_path / "file")
    assert find_source(path).num_rows == 20


def test_a_tar_that_is_cut_off_or_damaged_is_refused_by_name(tmp_path):
    whole = put_tar(tmp_path / "a.tar", samples(20)).read_bytes()
    end = len(whole.rstrip(b"\0")) // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE + tarfile.BLOCKSIZE
    with tarfile.open(tmp_path / "a.tar") as tar:
        header = tar.getmembers()[9].offset
    broken_header = whole[:header] + b"\x07" * 512 + whole[header + 512 :]
    cut_off = (b"", whole[:100], whole[: header + 700], whole[:end], whole[:header])
    for number, damaged in enumerate((*cut_off, broken_header)):
        path = tmp_path / f"damaged{number}.tar"
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=rf"^balance.source: .*damaged{number}\.tar: (cannot be read|is damaged)"):
            _ = find_source(path).num_rows


def test_a_tar_that_changes_after_it_was_counted_is_refused(tmp_path):
    source = find_source(put_tar(tmp_path / "a.tar", samples(20)))
    assert source.num_rows == 20
    put_tar(tmp_path / "a.tar", samples(15))
    with pytest.raises(UserError, match="has changed while it was being read"):
        source.read(0, 20)


# --- lists with braces


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a.tar", []),
        ("a{0..2}.tar", ["a0.tar", "a1.tar", "a2.tar"]),
        ("a{08..10}", ["a08", "a09", "a10"]),
        ("a{000..1}", ["a000", "a001"]),
        ("a{0..10}", [f"a{n}" for n in range(11)]),
        ("{x,y}-{1..2}", ["x-1", "x-2", "y-1", "y-2"]),
    ],
)
def test_braces_list_names_as_a_shell_does(text, names):
    assert expand_braces(text, "source=…") == names


@pytest.mark.parametrize("text", ["a{}", "a{3}", "a{5..2}", "a{0..99999999}", "{0..9999}{0..9999}"])
def test_braces_that_list_nothing_or_too_much_are_refused(text):
    with pytest.raises(UserError, match=r"^source=it: "):
        expand_braces(text, "source=it")


def test_a_list_is_read_in_its_order_and_what_it_lacks_is_named(tmp_path):
    for number in range(3):
        put_tar(tmp_path / f"{number:05d}.tar", samples(4, 4 * number))
        (tmp_path / f"{number:05d}.parquet").write_bytes(b"what img2dataset leaves beside it")
    source = find_source(tmp_path / "{00001..00002}.tar")
    assert source.read(0, 8)[0].column("caption").to_pylist() == captions(8, 4)
    with pytest.raises(UserError, match=r"several forms, 3 Parquet .* and 3 WebDataset .*list them with braces"):
        find_source(tmp_path)
    with pytest.raises(UserError, match=r"1 of the 4 files that it lists are not there, the first is .*00003\.tar"):
        find_source(tmp_path / "{00000..00003}.tar")
    with pytest.raises(UserError, match="several forms, Parquet and WebDataset"):
        find_source(tmp_path / "00000.{tar,parquet}")


# --- in a run


@pytest.mark.parametrize("source", ["tars", "tars/{0..1}.tar"])
def test_a_run_balances_captions_out_of_tars_and_goes_on_from_anywhere(app, at_once, tmp_path, monkeypatch, source):
    (tmp_path / "bank.txt").write_text("cat\ndog\n")
    put_tar(tmp_path / "tars/0.tar", samples(40))
    put_tar(tmp_path / "tars/1.tar", [("x.jpg", b"1"), ("y.txt", b"a dog")])
    words = (f"concepts.bank={tmp_path / 'bank.txt'}", f"balance.source={source}", "balance.target=10")
    outcome = app("submit", "stage=balance", *words, "balance.match_items=9", "workers=2")
    assert outcome.code == 0, outcome
    kept = [row["caption"] for row in rows_of(app.path)]
    assert len(kept) == 10
    assert set(kept) <= {*captions(40), "a dog"}
    assert "captions in 42 rejected 1 1 no_caption" in outcome.words
    monkeypatch.chdir("/")
    assert app("submit", "stage=balance").code == 0


def test_the_concepts_of_a_subset_come_out_of_tars_too(app, at_once, tmp_path):
    (tmp_path / "bank.txt").write_text("zebra\ncat\ndog\n")
    put_tar(tmp_path / "a.tar", samples(3))
    words = (f"concepts.bank={tmp_path / 'bank.txt'}", "concepts.subset=captions={a,a}.tar")
    outcome = app("submit", "stage=concepts", *words)
    assert (outcome.code, "1 concept from" in outcome.words) == (0, True), outcome
    assert app.run.load_config().concepts.subset == f"captions={tmp_path}/{{a,a}}.tar"
