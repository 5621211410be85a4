import errno
import os
import stat
from pathlib import Path

import pytest

from sharding import files
from tests.sharding.faults import Process, run, running


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def ticks(body: object) -> Process:
    process = Process()
    run(process, body)  # type: ignore[arg-type]
    return process


@pytest.mark.parametrize("old", [None, b"old content"])
def test_replace_file_killed_anywhere_leaves_the_old_or_the_new_content(tmp_path: Path, old: bytes | None) -> None:
    new = b"new content, longer"

    def lives() -> list[Process]:
        whole = Process()
        (tmp_path / "measure").mkdir()
        run(whole, lambda: files.replace_file(tmp_path / "measure" / "f", new))
        by_call = [Process(kill_at_call=call) for call in range(len(whole.calls))]
        return by_call + [Process(kill_at_byte=byte) for byte in range(1, whole.num_bytes + 1)]

    found = []
    for number, process in enumerate(lives()):
        path = tmp_path / str(number) / "f"
        path.parent.mkdir()
        if old is not None:
            path.write_bytes(old)
        assert not run(process, lambda: files.replace_file(path, new))  # noqa: B023
        found.append(path.read_bytes() if path.exists() else None)
    assert set(found) == {old, new}


@pytest.mark.parametrize("links", [True, False])
def test_create_file_killed_anywhere_leaves_nothing_or_all(tmp_path: Path, links: bool) -> None:
    data = b"whole content"
    whole = Process(links=links)
    assert run(whole, lambda: files.create_file(tmp_path / "measure" / "f", data))
    lives = [Process(kill_at_call=call, links=links) for call in range(len(whole.calls))]
    lives += [Process(kill_at_byte=byte, links=links) for byte in range(1, whole.num_bytes + 1)]
    found = []
    for number, process in enumerate(lives):
        path = tmp_path / str(number) / "f"
        assert not run(process, lambda: files.create_file(path, data))  # noqa: B023
        found.append(path.read_bytes() if path.exists() else None)
        assert files.create_file(path, b"second") == (found[-1] is None)
    assert set(found) == {None, data}


@pytest.mark.parametrize("links", [True, False])
def test_create_file_leaves_what_is_there_and_no_temporary_file(tmp_path: Path, links: bool) -> None:
    path = tmp_path / "f"
    with running(Process(links=links)):
        assert files.create_file(path, b"first")
        assert not files.create_file(path, b"second")
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["f"]


@pytest.mark.parametrize("links", [True, False])
def test_the_first_publication_wins_and_both_sources_are_gone(tmp_path: Path, links: bool) -> None:
    (tmp_path / "one").write_bytes(b"one")
    (tmp_path / "two").write_bytes(b"two")
    final = tmp_path / "data" / "final"
    with running(Process(links=links)):
        assert files.publish(tmp_path / "one", final)
        assert not files.publish(tmp_path / "two", final)
    assert final.read_bytes() == b"one"
    assert names(tmp_path) == ["data"]


def test_a_link_whose_answer_was_lost_counts_as_won(tmp_path: Path) -> None:
    source, final = tmp_path / "source", tmp_path / "final"
    source.write_bytes(b"mine")
    os.link(source, final)
    assert files.publish(source, final)


def test_a_publication_is_on_disk_before_it_is_visible_and_before_its_name_is_relied_on(tmp_path: Path) -> None:
    source, final = tmp_path / "source", tmp_path / "final"
    source.write_bytes(b"content")
    with running(Process()) as process:
        files.publish(source, final)
    order = [name for name, _ in process.calls if name in ("fsync", "link", "unlink")]
    assert order == ["fsync", "link", "fsync", "unlink"]


def test_a_publication_refused_for_another_reason_keeps_the_source(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    (tmp_path / "blocked").write_bytes(b"a file where a directory should be")
    with pytest.raises(OSError):
        files.publish(source, tmp_path / "blocked" / "final")
    assert source.read_bytes() == b"content"


def test_a_creator_whose_temporary_file_another_swept_away_is_told_that_it_came_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def swept(source: Path, target: Path) -> None:
        os.unlink(source)
        link(source, target)

    path = tmp_path / "f"
    monkeypatch.setattr(os, "link", swept)
    with pytest.raises(FileNotFoundError):
        files.create_file(path, b"second")
    path.write_bytes(b"first")
    assert not files.create_file(path, b"second")
    assert path.read_bytes() == b"first"
    assert [one.name for one in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize("write", [files.replace_file, files.create_file])
def test_a_full_disk_raises_enospc_and_leaves_no_temporary_file(tmp_path: Path, write: object) -> None:
    with running(Process(disk_bytes=5)), pytest.raises(OSError) as raised:
        write(tmp_path / "f", b"more than five bytes")  # type: ignore[operator]
    assert raised.value.errno == errno.ENOSPC
    assert names(tmp_path) == []


def test_permissions_follow_from_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        files.create_file(tmp_path / "sub" / "f", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "sub" / "f").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "sub").stat().st_mode) == 0o700


def test_checksum_is_size_and_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert files.checksum(tmp_path / "f") == (3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
