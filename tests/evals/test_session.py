"""What tasks in one process share."""

from __future__ import annotations

from typing import Any

import pytest

from evals.session import between_batches, opened, session


class Opener:
    """Opens models that are just their names."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def model(self, name: str) -> Any:
        def open_it() -> Any:
            self.calls.append(name)
            return name

        return opened(name, open_it)


def test_without_a_session_every_task_opens_its_model():
    opener = Opener()
    assert [opener.model("a"), opener.model("a")] == ["a", "a"]
    assert opener.calls == ["a", "a"]


def test_in_a_session_a_model_stays_open_until_another_is_asked_for():
    opener = Opener()
    with session(lambda: None):
        for name in "aabba":
            assert opener.model(name) == name
    assert opener.calls == ["a", "b", "a"]
    opener.model("a")
    assert opener.calls == ["a", "b", "a", "a"]


def fail() -> Any:
    raise OSError("gone")


def test_a_model_that_cannot_be_opened_is_tried_again():
    with session(lambda: None):
        with pytest.raises(OSError, match="gone"):
            opened("a", fail)
        assert Opener().model("a") == "a"


def test_the_look_between_batches_is_the_sessions_and_ends_with_it():
    looks: list[int] = []
    between_batches()
    with session(lambda: looks.append(1)):
        between_batches()
        between_batches()
    between_batches()
    assert looks == [1, 1]


def test_what_the_look_raises_ends_the_task():
    class Stop(Exception):
        pass

    def stop() -> None:
        raise Stop

    with pytest.raises(Stop), session(stop):
        between_batches()
    between_batches()
