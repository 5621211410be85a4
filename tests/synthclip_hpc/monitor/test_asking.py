"""Asking somebody who may not answer."""

from __future__ import annotations

import threading

import pytest

from synthclip_hpc.monitor.asking import Asker

PATIENCE_S = 0.05


def test_a_question_that_hangs_is_waited_for_once_however_often_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    waits: list[float] = []
    real = threading.Thread.join

    def join(thread: threading.Thread, timeout: float | None = None) -> None:
        waits.append(-1.0 if timeout is None else timeout)
        real(thread, timeout)

    asker: Asker[str] = Asker(PATIENCE_S)
    with monkeypatch.context() as recorded:
        recorded.setattr(threading.Thread, "join", join)
        answers = [asker.ask(lambda: "late" if go_on.wait(60) else "") for _ in range(5)]
    assert answers == [None] * 5
    assert 0 < waits[0] <= PATIENCE_S
    assert waits[1:] == [0.0] * 4
    go_on.set()
    assert asker._thread is not None
    asker._thread.join(60)
    # The answer that came meanwhile is the next one's; then there is a new question, with patience of its own.
    assert asker.ask(lambda: "new") == "late"
    assert asker.open_s == 0.0
