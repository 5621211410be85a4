from pathlib import Path

import pytest

from sharding.directory import PhaseDirectory
from tests.sharding.faults import Process, running


@pytest.mark.parametrize(
    ("shard", "data", "marker"),
    [
        (0, "data/000/00000.parquet", "markers/000/00000.json"),
        (12_345, "data/012/12345.parquet", "markers/012/12345.json"),
        (1_234_567, "data/1234/1234567.parquet", "markers/1234/1234567.json"),
    ],
)
def test_shards_fan_out_by_thousands(tmp_path: Path, shard: int, data: str, marker: str) -> None:
    directory = PhaseDirectory(tmp_path)
    assert directory.data_path(shard, ".parquet") == tmp_path / data
    assert directory.marker_path(shard) == tmp_path / marker


def test_names_of_an_attempt_carry_its_name(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    assert directory.partial_path(7, "4711_3_0") == tmp_path / "partial/000/00007.4711_3_0.part"
    assert directory.staged_path(7, "4711_3_0", ".tar") == tmp_path / "partial/000/00007.4711_3_0.tar"
    assert directory.journal_path("4711_3_0") == tmp_path / "journals/4711_3_0.jsonl"


@pytest.mark.parametrize("attempt", ["", "a/b", "..", "a.b", "a b", "a\n"])
def test_attempt_names_that_could_be_mistaken_for_paths_or_suffixes_are_refused(tmp_path: Path, attempt: str) -> None:
    with pytest.raises(ValueError, match="attempt must consist of"):
        PhaseDirectory(tmp_path).partial_path(0, attempt)


def test_a_negative_shard_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shard"):
        PhaseDirectory(tmp_path).data_path(-1, ".tar")


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_an_empty_phase_has_nothing(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path / "missing")
    assert (directory.marked_shards(), directory.attempts(), directory.partials(0)) == (set(), [], [])


def test_marked_shards_are_found_with_one_listing_a_directory_and_nothing_else(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    shards = {group * 1000 + offset for group in range(30) for offset in (0, 7, 999)} | {1_234_567}
    for shard in shards:
        put(directory.marker_path(shard))
    with running(Process()) as process:
        assert directory.marked_shards() == shards
    assert [name for name, _ in process.calls] == ["listdir"] * 32


def test_temporary_and_foreign_files_are_no_markers_and_no_outputs(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    for name in (".00001.json.0a.tmp", "1.json", "00001.json~", "00001.txt", "x00001.json"):
        put(tmp_path / "markers/000" / name)
    put(tmp_path / "markers/notes/00005.json")
    put(directory.marker_path(2))
    put(directory.data_path(3, ".parquet"))
    put(directory.data_path(4, ".tar"))
    assert directory.marked_shards() == {2}
    assert directory.output_shards(".parquet") == {3}


def test_partials_are_those_of_the_shard_alone(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    mine = [directory.partial_path(1, "a"), directory.partial_path(1, "b")]
    for path in [*mine, directory.partial_path(11, "a"), directory.staged_path(1, "a", ".parquet")]:
        put(path)
    assert directory.partials(1) == mine


def test_attempts_are_those_with_a_journal(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    put(directory.journal_path("2_0_1"))
    put(directory.journal_path("1_0_0"))
    put(directory.journals_path / "notes.txt")
    assert directory.attempts() == ["1_0_0", "2_0_1"]
