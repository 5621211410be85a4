from pathlib import Path

import pytest

from sharding.directory import PhaseDirectory
from sharding.inputs import InputsDrift, InputsError, bind_inputs, load_inputs


def test_inputs_are_bound_once_and_hash_alike(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    assert load_inputs(directory) is None
    first = bind_inputs(directory, {"captions/write": "a" * 64, "balance/cut": "b" * 64})
    assert bind_inputs(directory, {"balance/cut": "b" * 64, "captions/write": "a" * 64}) == first
    assert load_inputs(directory) == {"captions/write": "a" * 64, "balance/cut": "b" * 64}


def test_no_inputs_are_inputs_too(tmp_path: Path) -> None:
    assert bind_inputs(PhaseDirectory(tmp_path), {}) == bind_inputs(PhaseDirectory(tmp_path), {})


def test_another_seal_upstream_is_refused_with_both_hashes(tmp_path: Path) -> None:
    directory, other = PhaseDirectory(tmp_path / "one"), PhaseDirectory(tmp_path / "two")
    bound = bind_inputs(directory, {"captions/write": "a" * 64})
    found = bind_inputs(other, {"captions/write": "c" * 64})
    assert bound != found
    with pytest.raises(InputsDrift) as raised:
        bind_inputs(directory, {"captions/write": "c" * 64})
    for part in (bound, found, "a" * 64, "c" * 64, "captions/write"):
        assert part in str(raised.value)
    assert load_inputs(directory) == {"captions/write": "a" * 64}


@pytest.mark.parametrize(
    "content", ["", '{"schema": 2, "inputs": {}}', '{"schema": 1}', '{"schema": 1, "inputs": {"a": 1}}']
)
def test_a_damaged_or_newer_inputs_file_is_refused_by_name(tmp_path: Path, content: str) -> None:
    directory = PhaseDirectory(tmp_path)
    directory.inputs_path.write_text(content)
    with pytest.raises(InputsError, match=r"inputs\.json"):
        load_inputs(directory)
