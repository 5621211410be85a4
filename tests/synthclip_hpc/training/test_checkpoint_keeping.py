"""Which checkpoints stay: never less than what training could need, and no rubbish for ever."""

from __future__ import annotations

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthclip_hpc.training.checkpoints import keeping
from synthclip_hpc.training.checkpoints.checking import check_content
from synthclip_hpc.training.checkpoints.keeping import Found, unwanted
from synthclip_hpc.training.checkpoints.layout import gone_name, temporary_name
from tests.synthclip_hpc.training.checkpoint_folder import flip_a_bit, names, newest, published, save, saver, truncate


def test_the_newest_and_the_marked_ones_stay(tmp_path):
    one = saver(tmp_path, keep=3)
    save(one, 1)
    save(one, 2, marked=True)
    save(one, 3, 4, 5, 6)
    assert names(tmp_path) == published(2, 4, 5, 6)
    assert [outcome.removed for outcome in one.outcomes()] == [(), (), (), (1,), (), (3,)]


@pytest.mark.parametrize("damage", [flip_a_bit, truncate])
def test_broken_ones_do_not_count_and_go_when_two_whole_ones_are_newer(tmp_path, damage):
    save(saver(tmp_path), 1, 2)
    damage(tmp_path / "step-00000002" / "state.pt")
    one = saver(tmp_path, "1_0_1")
    save(one, 3)
    assert names(tmp_path) == published(1, 2, 3)
    save(one, 4)
    assert names(tmp_path) == published(3, 4)


@given(
    st.lists(st.builds(Found, st.integers(0, 40), st.booleans(), st.booleans()), unique_by=lambda one: one.step),
    st.integers(2, 5),
)
def test_of_any_set_the_newest_valid_and_all_marked_valid_ones_stay(found, keep):
    gone = unwanted(found, keep)
    stays = [one for one in found if one.step not in gone]
    valid = sorted((one.step for one in found if one.valid), reverse=True)
    assert {one.step for one in stays if one.valid} >= set(valid[:keep])
    assert {one.step for one in stays if one.valid} == set(valid[:keep]) | {
        one.step for one in found if one.valid and one.marked
    }
    for one in found:
        if not one.valid:
            assert (one.step in gone) == (sum(step > one.step for step in valid) >= 2)


def test_folders_at_work_stay_until_a_checkpoint_as_new_is_published(tmp_path):
    for step, attempt in ((3, "1_0_0"), (5, "1_0_0"), (9, "1_0_1")):
        (tmp_path / temporary_name(step, attempt)).mkdir()
        (tmp_path / temporary_name(step, attempt) / "state.pt").write_bytes(b"half")
    (tmp_path / gone_name(2)).mkdir()
    one = saver(tmp_path, "1_0_2")
    save(one, 5)
    assert names(tmp_path) == [temporary_name(9, "1_0_1"), *published(5)]
    save(one, 10)
    assert names(tmp_path) == published(5, 10)


def test_an_old_attempt_that_lives_on_removes_nothing_newer_than_what_it_knows(tmp_path):
    old, new = saver(tmp_path, "1_0_0"), saver(tmp_path, "1_0_1")
    save(old, 10, 20)
    save(new, 30, 40)
    save(old, 25)
    assert names(tmp_path) == published(30, 40) and newest(tmp_path).step == 40


def test_checkpoints_of_another_plan_are_neither_counted_nor_removed(tmp_path):
    save(saver(tmp_path, plan_hash="c" * 64, keep=5), 1, 2, 3)
    save(saver(tmp_path), 4, 5, 6)
    assert names(tmp_path) == published(1, 2, 3, 5, 6)


def test_other_things_in_the_folder_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "step-00000001.bak").mkdir()
    save(saver(tmp_path), 1, 2, 3)
    assert set(names(tmp_path)) == {"notes.txt", "step-00000001.bak", *published(2, 3)}


def test_what_cannot_be_removed_is_told_once_and_does_not_keep_others_from_being_saved(tmp_path):
    save(saver(tmp_path), 1)
    (tmp_path / "step-00000001" / "a folder of the user").mkdir()
    told: list[str] = []
    one = saver(tmp_path, tell=told.append)
    save(one, 2, 3, 4, 5)
    assert newest(tmp_path).step == 5 and not one.failures
    gone = [name for name in names(tmp_path) if name.endswith(".gone")]
    assert len(gone) == 1 and len(told) == 1 and "could not be removed" in told[0]
    shutil.rmtree(tmp_path / gone[0])


def test_own_checkpoints_are_not_read_again_and_foreign_ones_once(tmp_path, monkeypatch):
    save(saver(tmp_path), 1, 2)
    read: list[str] = []

    def recorded(path, manifest):
        read.append(path.name)
        check_content(path, manifest)

    monkeypatch.setattr(keeping, "check_content", recorded)
    save(saver(tmp_path, "1_0_1", keep=4), 3, 4, 5)
    assert sorted(read) == published(1, 2)
