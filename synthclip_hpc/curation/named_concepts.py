"""Which concepts of a bank some captions name: what `concepts.subset=captions=FILE` asks, at every command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from sharding.canonical import fingerprint
from synthclip_hpc.curation.matching import Matcher
from synthclip_hpc.curation.sources import CaptionSource, refuse_unusable
from synthclip_hpc.remembered import remembered, stamps

_AT_ONCE = 500_000
_RULES_VERSION = 1
"""Of matching with `exact` and of reading sources: to be raised when one of them finds other concepts."""


def named_concepts(concepts: Sequence[str], source: CaptionSource) -> list[int]:
    """Return the places of the concepts that some caption names (MetaCLIP's rule), in rising order.

    Minutes for millions of captions, and remembered for the next command: as long as the files have the same paths,
    sizes, times and fingerprint and the bank the same entries in the same order. Raises UserError as sources do, and
    when no row is a caption.
    """

    def find() -> list[int]:
        matcher, rejects = Matcher(concepts, "exact"), Counter[str]()
        named = np.zeros(len(concepts), dtype=bool)
        for start in range(0, source.num_rows, _AT_ONCE):
            captions, found = source.read(start, min(source.num_rows, start + _AT_ONCE))
            rejects.update(found)
            named[matcher.match(captions.column("caption").to_pylist())[1]] = True
        refuse_unusable(source, rejects)
        return [int(place) for place in np.flatnonzero(named)]

    key = [_RULES_VERSION, fingerprint(list(concepts)), source.fingerprint, stamps(source.files.files)]
    places: list[int] = remembered("named-concepts", key, find)
    return places
