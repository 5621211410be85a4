import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharding.journal import Journal, read_events
from tests.sharding.faults import Process, running


def names(path: Path) -> list[str]:
    return [event["event"] for event in read_events(path)[0]]


def test_events_come_back_with_their_fields_and_a_time(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.event("start", name="ä\n🦊", items=3)
    journal.event("end")
    events, offset = read_events(tmp_path / "j")
    assert [event["event"] for event in events] == ["start", "end"]
    assert (events[0]["name"], events[0]["items"]) == ("ä\n🦊", 3)
    assert 1.5e9 < events[0]["time"] <= events[1]["time"]
    assert offset == (tmp_path / "j").stat().st_size


def test_reading_goes_on_from_the_last_offset_and_leaves_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = Journal(path)
    journal.event("one")
    _, offset = read_events(path)
    assert read_events(path, offset) == ([], offset)
    journal.event("two")
    whole = path.read_bytes()
    for length in range(offset, len(whole)):
        path.write_bytes(whole[:length])
        assert read_events(path, offset) == ([], offset)
    path.write_bytes(whole)
    events, end = read_events(path, offset)
    assert ([event["event"] for event in events], end) == (["two"], len(whole))


def test_a_journal_that_does_not_exist_has_no_events(tmp_path: Path) -> None:
    assert read_events(tmp_path / "missing") == ([], 0)


@given(garbage=st.binary(max_size=30))
def test_no_content_whatever_makes_reading_fail(tmp_path_factory: pytest.TempPathFactory, garbage: bytes) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    path.write_bytes(garbage + b'\n{"event": "after"}\n')
    events, offset = read_events(path)
    assert events[-1] == {"event": "after"}
    assert offset == path.stat().st_size


@pytest.mark.parametrize("line", [b'{"event": "sta', b"[1]", b'{"time": 1}', b'{"event": 1}', b"\0\0\0", b"\xff"])
def test_a_corrupt_whole_line_becomes_an_event_that_says_where(tmp_path: Path, line: bytes) -> None:
    first = b'{"event": "start"}\n'
    (tmp_path / "j").write_bytes(first + line + b'\n{"event": "end"}\n')
    events, _ = read_events(tmp_path / "j")
    assert [event["event"] for event in events] == ["start", "corrupt", "end"]
    assert events[1] == {"event": "corrupt", "offset": len(first), "size_bytes": len(line) + 1}


def test_a_torn_line_of_an_earlier_life_costs_no_later_event(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(b'{"event": "start"}\n{"event": "pro')
    Journal(path).event("again")
    assert names(path) == ["start", "corrupt", "again"]


def test_an_event_is_one_write(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    with running(Process()) as process:
        journal.event("one")
        journal.event("two", text="x" * 10_000)
        journal.close()
    assert [name for name, _ in process.calls].count("write") == 2


def test_a_full_disk_does_not_stop_the_work_and_is_reported_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "j"
    journal = Journal(path)
    with running(Process(disk_bytes=70)):
        for number in range(5):
            journal.event("progress", number=number)
    assert journal.lost_events == 4
    assert capsys.readouterr().err.count("No space left on device") == 1
    journal.event("room again")
    events, _ = read_events(path)
    assert [event["event"] for event in events] == ["progress", "corrupt", "room again"]
    assert events[-1]["lost_events"] == 4


def test_a_journal_that_cannot_be_made_does_not_stop_the_work(tmp_path: Path) -> None:
    (tmp_path / "journals").write_bytes(b"a file where a directory should be")
    journal = Journal(tmp_path / "journals" / "j")
    journal.event("start")
    assert journal.lost_events == 1


def test_values_that_strict_json_lacks_become_text(tmp_path: Path) -> None:
    Journal(tmp_path / "j").event("step", loss=math.nan, nested={"a": [-math.inf]}, path=Path("/tmp/x"))
    line = (tmp_path / "j").read_text()
    event = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not strict JSON"))
    assert (event["loss"], event["nested"], event["path"]) == ("nan", {"a": ["-inf"]}, "/tmp/x")


@pytest.mark.parametrize("field", ["time", "event", "lost_events"])
def test_fields_that_the_journal_sets_itself_are_refused(tmp_path: Path, field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Journal(tmp_path / "j").event("start", **{field: 1})
