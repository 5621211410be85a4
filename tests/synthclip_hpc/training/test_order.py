"""The order of the samples: the same whoever asks, each sample once an epoch, few chunks at a time."""

from __future__ import annotations

import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthclip_hpc.errors import UserError
from synthclip_hpc.training.chunks import Chunks
from synthclip_hpc.training.order import Mix, SampleOrder, SourceShards, parse_mix
from synthclip_hpc.training.permuted import permutation


def shards(*sources, first=0):
    found = []
    for number, sizes in enumerate(sources):
        found.append(SourceShards("abcdef"[number], first, np.array(sizes, np.int64)))
        first += sum(sizes)
    return found


def make(sources, *, seed=7, batch_size=8, chunk_samples=4, group_chunks=3, lanes=4, mix=()):
    given = {"batch_size": batch_size, "chunk_samples": chunk_samples, "group_chunks": group_chunks, "lanes": lanes}
    return SampleOrder(seed, sources, **given, mix=mix)


def epoch(order, number):
    steps = range(number * order.steps_per_epoch, (number + 1) * order.steps_per_epoch)
    return np.concatenate([order.batch(step) for step in steps])


def test_random_bits_and_order_are_the_ones_they_always_were():
    assert permutation(12345, 10).tolist() == [7, 0, 1, 5, 4, 6, 8, 3, 2, 9]
    order = make(shards([10, 3, 9], [5, 6]))
    assert order.batch(0).tolist() == [1, 0, 3, 12, 32, 13, 21, 4]
    assert order.batch(5).tolist() == [15, 26, 9, 7, 25, 22, 23, 31]
    mixed = make(shards([10, 3, 9], [5, 6]), mix=[Mix("a", 9), Mix("b", 7)])
    assert mixed.batch(0).tolist() == [31, 13, 18, 17, 20, 28, 21, 25]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=6),
    batch_size=st.integers(1, 12),
    chunk_samples=st.integers(1, 9),
    group_chunks=st.integers(1, 4),
    lanes=st.integers(1, 9),
    seed=st.integers(0, 1 << 32),
)
def test_an_epoch_has_each_sample_at_most_once_and_only_the_last_part_is_left_out(
    sizes, batch_size, chunk_samples, group_chunks, lanes, seed
):
    total = sum(sizes)
    arguments = {"batch_size": batch_size, "chunk_samples": chunk_samples, "group_chunks": group_chunks}
    if total < batch_size:
        with pytest.raises(UserError, match=f"train.batch_size={batch_size}"):
            make(shards(sizes), lanes=lanes, seed=seed, **arguments)
        return
    order = make(shards(sizes, first=100), lanes=lanes, seed=seed, **arguments)
    for number in (0, 3):
        found = epoch(order, number).tolist()
        assert len(found) == total // batch_size * batch_size
        assert len(set(found)) == len(found)
        assert set(found) <= set(range(100, 100 + total))


@pytest.mark.parametrize("mix", [(), (Mix("b", 50), Mix("a", 23))])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("workers", [1, 3])
def test_batches_are_the_same_whoever_puts_them_together(mix, world_size, workers):
    sources = shards([33, 8], [27, 5, 14])
    whole = make(sources, batch_size=12, lanes=6, mix=mix)
    rows = 12 // world_size
    parts = [make(sources, batch_size=12, lanes=6, mix=mix) for _ in range(world_size * workers)]
    for step in range(3 * whole.steps_per_epoch):
        found = []
        for one, order in enumerate(parts):
            rank, worker = divmod(one, workers)
            start, stop = worker * rows // workers, (worker + 1) * rows // workers
            found += order.part(step, rank * rows + start, rank * rows + stop).tolist()
        assert found == whole.batch(step).tolist(), step


def test_epochs_seeds_and_sources_have_orders_of_their_own():
    orders = [epoch(make(shards([40, 40]), seed=seed), number).tolist() for seed in (1, 2) for number in (0, 1)]
    assert len({tuple(one) for one in orders}) == 4
    assert all(sorted(one) == list(range(80)) for one in orders)


def test_what_is_left_out_changes_from_epoch_to_epoch():
    order = make(shards([21, 21]), batch_size=8)
    left_out = [frozenset(range(42)) - set(epoch(order, number).tolist()) for number in range(8)]
    assert {len(one) for one in left_out} == {2}
    assert len(set(left_out)) > 4


def test_chunks_never_leave_their_tar():
    chunks = Chunks(shards([10, 3, 0, 8], [5], first=1000), 4)
    assert list(zip(chunks.starts.tolist(), chunks.sizes.tolist(), strict=True)) == [
        (1000, 4), (1004, 4), (1008, 2), (1010, 3), (1013, 4), (1017, 4), (1021, 4), (1025, 1)
    ]  # fmt: skip
    assert chunks.around(1009) == (1008, 1010)
    assert chunks.around(1010) == (1010, 1013)
    assert chunks.around(1025) == (1025, 1026)


def test_a_share_of_the_batches_touches_few_chunks():
    order = make(shards([1000] * 32), batch_size=64, chunk_samples=50, group_chunks=4, lanes=16)
    for start, stop in ((0, 16), (16, 32), (48, 64)):
        found = np.concatenate([order.part(step, start, stop) for step in range(20)])
        touched = {order.chunks.around(number) for number in found.tolist()}
        # Four lanes, each of which goes through 80 samples: of one group of 200 or, at its edge, two.
        assert len(touched) <= 4 * 2 * 4
    anywhere = {order.chunks.around(number) for step in range(20) for number in order.batch(step).tolist()}
    assert len(anywhere) <= 16 * 2 * 4


def test_lanes_that_do_not_divide_the_batch_become_fewer():
    assert make(shards([100]), batch_size=30, lanes=16).lanes == 15
    assert make(shards([100]), batch_size=7, lanes=4).lanes == 1
    assert make(shards([100]), batch_size=2, lanes=16).lanes == 2


def test_a_mix_gives_each_source_exactly_its_number_in_every_epoch():
    # More places than a block has, and sources both smaller and larger than what they give.
    mix = [Mix("b", 700), Mix("a", 8101), Mix("c", 1199)]
    order = make(shards([5000, 5000], [300], [9000]), batch_size=50, mix=mix)
    assert (order.num_samples, order.steps_per_epoch) == (10_000, 200)
    used = np.zeros(19_300, np.int64)
    for number in range(5):
        found = epoch(order, number)
        used += np.bincount(found, minlength=len(used))
        assert (found < 10_000).sum() == 8101
        assert ((found >= 10_000) & (found < 10_300)).sum() == 700
    assert used[:10_000].sum() == 5 * 8101
    for first, last in ((0, 10_000), (10_000, 10_300), (10_300, 19_300)):
        assert used[first:last].max() - used[first:last].min() <= 1


def test_a_mix_is_even_all_along_the_epoch():
    order = make(shards([20_000], [20_000]), batch_size=100, lanes=1, mix=[Mix("a", 15_000), Mix("b", 5_000)])
    found = epoch(order, 0)
    for start in (0, 4096, 8192):  # the fourth block takes what is left over
        share = (found[start : start + 4096] < 20_000).mean()
        assert abs(share - 0.75) < 1 / 4096
    labels = (found[:4096] < 20_000).astype(int)
    assert 1000 < np.abs(np.diff(labels)).sum() < 2000  # mixed, not one source behind the other


def test_many_small_sources_fit_into_the_last_block():
    sources = shards([100], [100], [100], [100], [100], [400])
    counts = [683, 683, 683, 683, 683, 690]
    order = make(sources, batch_size=5, mix=[Mix(one.name, n) for one, n in zip(sources, counts, strict=True)])
    found = epoch(order, 1)
    by_source = Counter(min(number // 100, 5) for number in found.tolist())
    assert [by_source[one] for one in range(6)] == counts


@pytest.mark.parametrize("mix", [(), (Mix("b", 40), Mix("a", 40))])
def test_spares_are_the_others_of_the_group_from_the_next_one_on(mix):
    order = make(shards([40], [40]), batch_size=8, lanes=2, mix=mix)
    step, place = 13, 5
    number = int(order.batch(step)[place])
    spares = order.spares(step, place).tolist()
    assert len(spares) == 3 * 4 - 1
    assert number not in spares and len(set(spares)) == len(spares)
    assert len({order.chunks.around(one) for one in [number, *spares]}) == 3
    if mix:
        assert len({one // 40 for one in [number, *spares]}) == 1
    else:
        following = order.part(step, place, 8).tolist()[1:]
        assert spares[: len(following)] == following
    assert spares == make(shards([40], [40]), batch_size=8, lanes=2, mix=mix).spares(step, place).tolist()


def test_thirty_million_samples_cost_their_chunks_and_the_groups_in_use(monkeypatch):
    calls = []

    def counted(seed, length):
        calls.append(length)
        return permutation(seed, length)

    monkeypatch.setattr("synthclip_hpc.training.permuted.permutation", counted)
    sources = shards([10_000] * 3000)
    tracemalloc.start()
    order = make(sources, batch_size=4096, chunk_samples=128, group_chunks=8, lanes=16)
    for step in (0, 1, 200_000):
        assert len(order.part(step, 0, 256)) == 256
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 48 << 20
    chunks = 3000 * 79
    assert [n for n in calls if n > 1024] == [chunks, chunks]  # epochs 0 and 27
    assert len(calls) - 2 <= 4


def test_mix_is_read():
    sources = shards([10], [20])
    assert parse_mix("b:5, a:30", sources) == [Mix("b", 5), Mix("a", 30)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("c:5", "train.mix=c:5: the data set has no such source"),
        ("a:5,a:6", "train.mix=a:6: a stands twice"),
        ("a:0", "train.mix=a:0: a source gives 1 sample at least"),
        ("a", "train.mix=a: no source with a number"),
        ("a:-3", "train.mix=a:-3: no source with a number"),
        (":3", "train.mix=:3: no source with a number"),
        ("d:3", "train.mix=d:3: this source has no samples"),
    ],
)
def test_a_mix_that_does_not_fit_is_refused(text, told):
    sources = [*shards([10], [20]), SourceShards("d", 30, np.array([], np.int64))]
    with pytest.raises(UserError) as error:
        parse_mix(text, sources)
    assert str(error.value).startswith(told)


def test_places_outside_the_batch_are_refused():
    with pytest.raises(IndexError, match="places 3 to 9"):
        make(shards([40])).part(0, 3, 9)
