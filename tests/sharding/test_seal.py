import json
from pathlib import Path

import pytest

from sharding import files
from sharding.canonical import canonical_json
from sharding.directory import PhaseDirectory
from sharding.marker import Counts
from sharding.seal import PhaseIncomplete, SealConflict, SealError, collect_seal, load_seal, store_seal, write_seal
from tests.sharding.workload import INPUTS_HASH, do_shard, ignore, make_plan

PLAN = make_plan(num_items=40, shard_items=9)


def finish(path: Path, attempt: str = "1_0_0", order: int = 1) -> PhaseDirectory:
    directory = PhaseDirectory(path)
    for shard in list(range(PLAN.num_shards))[::order]:
        do_shard(directory, PLAN, shard, attempt, ignore)
    return directory


def test_a_seal_holds_every_shard_in_order_and_the_totals(tmp_path: Path) -> None:
    directory = finish(tmp_path)
    assert load_seal(directory) is None
    seal = write_seal(directory, PLAN, INPUTS_HASH)
    assert [entry.shard for entry in seal.shards] == [0, 1, 2, 3, 4]
    assert [entry.counts.total for entry in seal.shards] == [9, 9, 9, 9, 4]
    assert seal.counts == Counts(40, 32, 8, {"unusable": 8})
    assert seal.size_bytes == sum(directory.data_path(shard, ".parquet").stat().st_size for shard in range(5))
    assert (seal.plan_hash, seal.inputs_hash) == (PLAN.hash, INPUTS_HASH)
    assert seal.hash == files.checksum(directory.seal_path)[1]
    assert load_seal(directory) == seal


def test_a_seal_is_collected_without_being_written(tmp_path: Path) -> None:
    directory = finish(tmp_path)
    seal = collect_seal(directory, PLAN, INPUTS_HASH)
    assert load_seal(directory) is None
    assert store_seal(directory, seal) == load_seal(directory) == write_seal(directory, PLAN, INPUTS_HASH)


def test_a_marker_of_a_shard_that_the_plan_lacks_changes_nothing(tmp_path: Path) -> None:
    directory = finish(tmp_path)
    before = collect_seal(directory, PLAN, INPUTS_HASH)
    directory.marker_path(999).write_bytes(directory.marker_path(0).read_bytes())
    assert collect_seal(directory, PLAN, INPUTS_HASH) == before


def test_who_did_the_work_and_when_does_not_enter_the_seal(tmp_path: Path) -> None:
    one = finish(tmp_path / "one", "1_0_0")
    two = finish(tmp_path / "two", "77_3_9", order=-1)
    assert write_seal(one, PLAN, INPUTS_HASH).hash == write_seal(two, PLAN, INPUTS_HASH).hash
    assert one.seal_path.read_bytes() == two.seal_path.read_bytes()


def test_sealing_again_changes_nothing(tmp_path: Path) -> None:
    directory = finish(tmp_path)
    first = write_seal(directory, PLAN, INPUTS_HASH)
    inode = directory.seal_path.stat().st_ino
    assert write_seal(directory, PLAN, INPUTS_HASH) == first
    assert directory.seal_path.stat().st_ino == inode


def test_a_phase_without_shards_can_be_sealed(tmp_path: Path) -> None:
    seal = write_seal(PhaseDirectory(tmp_path), make_plan(num_items=0), INPUTS_HASH)
    assert (seal.shards, seal.counts.total) == ((), 0)


def test_missing_shards_are_named_each_with_its_reason_and_nothing_is_written(tmp_path: Path) -> None:
    directory = finish(tmp_path)
    directory.marker_path(0).unlink()
    directory.marker_path(1).write_bytes(b"{")
    directory.data_path(2, ".parquet").unlink()
    marker = json.loads(directory.marker_path(3).read_bytes())
    directory.marker_path(3).write_text(json.dumps({**marker, "inputs_hash": "f" * 64}))
    counts = {"total": 3, "done": 3, "rejected": 0, "rejects": {}}
    marker = json.loads(directory.marker_path(4).read_bytes())
    directory.marker_path(4).write_text(json.dumps({**marker, "counts": counts}))
    with pytest.raises(PhaseIncomplete) as raised:
        write_seal(directory, PLAN, INPUTS_HASH)
    assert raised.value.missing == [0, 1, 2, 3, 4]
    words = ["no marker", "not JSON", "missing", "f" * 64, "cover 3"]
    assert all(word in raised.value.reasons[shard] for shard, word in enumerate(words))
    assert all(word in str(raised.value) for word in [*words, "5 of 5 shards"])
    assert load_seal(directory) is None


def test_a_long_list_of_missing_shards_is_cut_in_the_message_only(tmp_path: Path) -> None:
    with pytest.raises(PhaseIncomplete, match="and 90 more") as raised:
        write_seal(PhaseDirectory(tmp_path), make_plan(num_items=100, shard_items=1), INPUTS_HASH)
    assert raised.value.missing == list(range(100))


def test_another_seal_is_a_conflict_with_both_hashes_and_stays(tmp_path: Path) -> None:
    directory = finish(tmp_path)
    first = write_seal(directory, PLAN, INPUTS_HASH)
    marker = json.loads(directory.marker_path(0).read_bytes())
    directory.marker_path(0).write_text(json.dumps({**marker, "sha256": "e" * 64}))
    with pytest.raises(SealConflict) as raised:
        write_seal(directory, PLAN, INPUTS_HASH)
    assert first.hash in str(raised.value)
    assert load_seal(directory) == first


@pytest.mark.parametrize("content", [b"", b"{", b'{"schema": 2}', b'{"schema": 1}', b'{"schema": 1, "shards": [1]}'])
def test_a_torn_foreign_or_newer_seal_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    directory = PhaseDirectory(tmp_path)
    directory.seal_path.write_bytes(content)
    with pytest.raises(SealError, match=r"seal\.json"):
        load_seal(directory)


def test_a_seal_whose_totals_were_edited_is_refused(tmp_path: Path) -> None:
    directory = finish(tmp_path)
    write_seal(directory, PLAN, INPUTS_HASH)
    value = json.loads(directory.seal_path.read_bytes())
    value["totals"]["num_shards"] = 6
    directory.seal_path.write_bytes(canonical_json(value))
    with pytest.raises(SealError, match="do not agree"):
        load_seal(directory)
