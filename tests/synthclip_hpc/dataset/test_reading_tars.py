"""Reading one tar: hashing has begun before its members are looked at, and all lengths of keys are known."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sharding import ustar
from sharding.tar_scan import TarError
from synthclip_hpc.dataset.contents import Found, read_once
from synthclip_hpc.dataset.own_members import as_written


class SlowToBegin(ThreadPoolExecutor):
    """A pool whose thread is late, and writes down when it begins."""

    def __init__(self, events: list[str]) -> None:
        super().__init__(1)
        self.events = events

    def submit(self, task: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        def late() -> Any:
            time.sleep(0.05)
            self.events.append("hash")
            return task(*given, **named)

        return super().submit(late)


def test_members_are_not_looked_at_before_hashing_has_begun(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(b"content")
    events: list[str] = []

    def read(content: object) -> Found:
        events.append("read")
        return Found({}, 3, 1)

    with SlowToBegin(events) as hasher:
        contents = read_once(path, read, hasher)
    assert events == ["hash", "read"]
    assert contents.sha256 == hashlib.sha256(b"content").hexdigest()
    assert (contents.size_bytes, contents.found.num_samples, contents.found.num_rejects) == (7, 3, 1)


def test_what_reading_raises_comes_through_and_the_hasher_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(b"content")

    def fail(content: object) -> Found:
        raise TarError(path, 5, "wrong")

    with ThreadPoolExecutor(1) as hasher:
        with pytest.raises(TarError, match="byte 5: wrong"):
            read_once(path, fail, hasher)
        assert read_once(path, lambda content: Found({}, 0), hasher).size_bytes == 7


def test_keys_of_another_length_in_one_tar_are_found_with_their_rejects() -> None:
    keys = ["999999998", "999999999", "1000000000", "1000000001"]
    members = [(f"999999998.{part}", part.encode()) for part in ("jpg", "txt", "json")]
    members += [("__reject__/999999999", b"{}"), ("__reject__/1000000000", b"{}")]
    members += [(f"1000000001.{part}", part.encode() * 300) for part in ("jpg", "txt", "json")]
    content = ustar.members(members) + ustar.END
    found = as_written(content, keys)
    assert found is not None
    assert (found.samples, found.rejects) == ([0, 3], [1, 2])
    assert found.contents(content, "txt") == [b"txt", b"txt" * 300]
    assert [content[one.offset : one.end][:2] for one in found.reject_members] == [b"{}", b"{}"]
    assert as_written(content, [*keys[:3], "1000000002"]) is None


def test_a_tar_that_ends_inside_a_header_or_a_sample_is_not_as_written() -> None:
    members = [(f"000000001.{part}", b"x") for part in ("jpg", "txt", "json")]
    content = ustar.members(members) + ustar.END
    assert as_written(content, ["000000001"]) is not None
    for length in (0, 100, 600, 1024, 2048, len(content) - 1):
        assert as_written(content[:length], ["000000001"]) is None, length
    two_parts = ustar.members(members[:2]) + ustar.END
    assert as_written(two_parts, ["000000001"]) is None
