"""Where samples lie, and reading them: the right bytes, each chunk once."""

from __future__ import annotations

import os
import shutil

import pyarrow as pa
import pytest

from synthclip_hpc.dataset.columns import INDEX, index_schema
from synthclip_hpc.dataset.index import DatasetIndex
from synthclip_hpc.dataset.index_file import RowWriter
from synthclip_hpc.errors import UserError
from synthclip_hpc.training.data.reading import SampleReader, read_parts
from synthclip_hpc.training.data.training_data import open_training_data
from synthclip_hpc.training.order import SampleOrder
from tests.synthclip_hpc.training.data_sets import make_data_set

SIZES = {"render": [7, 5, 1], "web": [6, 4]}


@pytest.fixture
def folder(tmp_path):
    return make_data_set(tmp_path / "dataset", SIZES)


def order_of(data, **changed):
    given = {"batch_size": 6, "chunk_samples": 3, "group_chunks": 2, "lanes": 2} | changed
    return SampleOrder(1, data.shards(), **given)


def test_sources_and_tars_are_those_of_the_index(folder):
    data = open_training_data([folder])
    told = [(one.name, one.first, one.sizes.tolist()) for one in data.shards()]
    assert told == [("render", 0, [7, 5, 1]), ("web", 13, [6, 4])]
    assert data.num_samples == 23


def test_several_data_sets_follow_one_another(folder, tmp_path):
    other = make_data_set(tmp_path / "other", {"render": [3], "books": [2]})
    data = open_training_data([folder, other])
    told = [(one.name, one.first, one.num_samples) for one in data.shards()]
    assert told == [("render", 0, 13), ("web", 13, 10), ("render-2", 23, 3), ("books", 26, 2)]
    with SampleReaderOf(data) as reader, DatasetIndex.open(other) as index:
        found = reader.read(26, 28, [27])[0]
        assert (found.image, found.text) == (index.read(4).image, index.read(4).txt.encode())
    assert data.key(27) == f"{other}/shards/00001.tar: 000004"


def test_a_row_group_may_end_inside_a_tar(tmp_path, monkeypatch):
    for module in ("dataset.index_file", "dataset.index"):
        monkeypatch.setattr(f"synthclip_hpc.{module}.GROUP_ROWS", 5)
    folder = make_data_set(tmp_path / "dataset", SIZES)
    data = open_training_data([folder])
    assert [one.sizes.tolist() for one in data.shards()] == [[7, 5, 1], [6, 4]]
    with SampleReaderOf(data) as reader, DatasetIndex.open(folder) as index:
        for start, stop in ((0, 7), (7, 12), (12, 13), (13, 19), (4, 6), (5, 7)):
            found = reader.read(start, stop, range(start, stop))
            assert [one.image for one in found] == [index.read(number).image for number in range(start, stop)]


class SampleReaderOf(SampleReader):
    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def test_every_chunk_is_read_once_an_epoch_and_every_sample_is_the_right_one(folder):
    data = open_training_data([folder])
    order = order_of(data, batch_size=4)
    with SampleReaderOf(data) as reader, DatasetIndex.open(folder) as index:
        parts = [order.part(step, 0, 4) for step in range(order.steps_per_epoch)]
        for part, found in zip(
            parts, read_parts(reader, order.chunks, parts, order.steps_in_group(rarest=True)), strict=True
        ):
            assert [one.number for one in found] == part.tolist()
            for one in found:
                whole = index.read(one.number)
                assert (one.image, one.text, one.record) == (whole.image, whole.txt.encode(), whole.json)
        touched = {order.chunks.around(number) for part in parts for number in part.tolist()}
        assert reader.num_reads == len(touched)
        assert reader.num_bytes < sum(path.stat().st_size for path in (folder / "shards").glob("*.tar"))


def test_a_short_look_ahead_reads_again_and_gives_the_same(folder):
    data = open_training_data([folder])
    order = order_of(data)
    parts = [order.batch(step) for step in range(2 * order.steps_per_epoch)]
    with SampleReaderOf(data) as near, SampleReaderOf(data.reopened()) as far:
        assert list(read_parts(near, order.chunks, parts, 0)) == list(read_parts(far, order.chunks, parts, 6))
        assert near.num_reads > far.num_reads


def test_a_tar_that_is_gone_is_named(folder):
    gone = folder / "shards/00001.tar"
    gone.unlink()
    with SampleReaderOf(open_training_data([folder])) as reader, pytest.raises(UserError) as error:
        reader.read(7, 10, [8])
    assert str(error.value).startswith(f"{gone}: this tar of the training data is gone")


def test_a_tar_that_is_cut_off_is_named(folder):
    cut = folder / "shards/00001.tar"
    os.truncate(cut, 4000)
    with SampleReaderOf(open_training_data([folder])) as reader, pytest.raises(UserError) as error:
        reader.read(7, 12, [8])
    assert str(error.value).startswith(f"{cut}: this tar of the training data is cut off: 4000 bytes")


def test_an_index_that_is_replaced_in_mid_training_is_refused(folder, tmp_path):
    data = open_training_data([folder])
    shutil.copy(make_data_set(tmp_path / "other", {"render": [3]}) / INDEX, folder / INDEX)
    with pytest.raises(UserError, match="the data set changed"):
        data.places(0, 2)


def test_what_is_no_data_set_is_refused(tmp_path):
    with pytest.raises(UserError, match="no index here"):
        open_training_data([tmp_path])
    with RowWriter(tmp_path / INDEX, index_schema()) as index:
        index.add(index_schema().empty_table())
    with pytest.raises(UserError, match="this data set has no samples"):
        open_training_data([tmp_path])


def test_sources_in_two_pieces_are_refused(tmp_path):
    rows = [dict.fromkeys(index_schema().names) for _ in range(3)]
    for number, (row, source) in enumerate(zip(rows, ("a", "b", "a"), strict=True)):
        row.update(key=str(number), tar=number, source=source)
    with RowWriter(tmp_path / INDEX, index_schema()) as index:
        index.add(pa.Table.from_pylist(rows, schema=index_schema()))
    with pytest.raises(UserError, match="not in the order of their sources"):
        open_training_data([tmp_path])


def test_samples_outside_are_refused(folder):
    with pytest.raises(IndexError, match="sample 23 of 23"):
        open_training_data([folder]).places(23, 24)
