"""What a phase was made from: the seals of the phases upstream, bound once, when the phase starts."""

from __future__ import annotations

from collections.abc import Mapping

from sharding import files, schema
from sharding.canonical import canonical_json, fingerprint
from sharding.directory import PhaseDirectory
from sharding.drift import differences, explain


class InputsError(ValueError):
    """An inputs file that is torn, damaged or newer than this version."""


class InputsDrift(ValueError):
    """The phase was started from other inputs."""


def bind_inputs(directory: PhaseDirectory, inputs: Mapping[str, str]) -> str:
    """Write `{"stage/phase": seal hash}` if the phase has no inputs yet, otherwise make sure they are these; returns
    their hash.

    Raises InputsDrift, with both hashes and every difference, if the phase was started from other inputs.
    """
    data = canonical_json({"schema": schema.SCHEMA, "inputs": dict(inputs)})
    asked_hash = fingerprint(dict(inputs))
    if not files.create_file(directory.inputs_path, data):
        recorded = load_inputs(directory) or {}
        if recorded != dict(inputs):
            raise InputsDrift(
                f"{directory.inputs_path} was bound to inputs {fingerprint(recorded)}, "
                f"found now are inputs {asked_hash}. "
                f"What differs:\n{explain(differences(recorded, dict(inputs)))}\n"
                "A phase upstream was made anew and came out different; run this one in a new run directory."
            )
    return asked_hash


def load_inputs(directory: PhaseDirectory) -> dict[str, str] | None:
    """The inputs a phase is bound to, None if it has none yet. Raises InputsError if the file is damaged or newer."""
    path = directory.inputs_path
    try:
        value = schema.parse(files.read_file(path), str(path), InputsError)
    except FileNotFoundError:
        return None
    inputs = schema.mapping(value, "inputs", str(path), InputsError)
    return {key: schema.text(inputs, key, str(path), InputsError) for key in inputs}
