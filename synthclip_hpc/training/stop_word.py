"""A word that a worker gives the ranks of its node: stop at the next step.

One byte of memory without a name: a rank looks at it as often as it likes, no signal can get lost on the way, and
nothing is left behind by whoever is killed.
"""

from __future__ import annotations

import mmap
import os

ENVIRONMENT = "SYNTHCLIP_STOP_WORD"


class StopWord:
    """The worker's end."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("synthclip-stop")
        os.ftruncate(self._descriptor, 1)
        # The descriptor is not inherited: torchrun closes what it does not know. Its path is, by the environment.
        self.path = f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def give(self) -> None:
        """Say it; it cannot be taken back."""
        os.pwrite(self._descriptor, b"\1", 0)

    def close(self) -> None:
        """Let go of it; ranks that look at it keep it."""
        os.close(self._descriptor)


class StopEar:
    """A rank's end."""

    def __init__(self, path: str) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._memory = mmap.mmap(descriptor, 1, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)

    def heard(self) -> bool:
        """Tell whether the word was given."""
        return self._memory[0] != 0
