"""Short captions for pictures of emoji: a name in few words, at times with a background or a second emoji.

A model of a few minutes learns names from these, where CLIP's templates bury them among words that no emoji shows. Most
say nothing but the name: a model that is told the background each time tells pictures apart by that. There are enough
forms for 150 different captions of each concept, as balancing keeps every text once.
"""

from __future__ import annotations

from functools import lru_cache

from sharding.canonical import fingerprint
from sharding.ids import derive
from synthclip_hpc.captioning.banks.listing import read_listing
from synthclip_hpc.captioning.engines.engine import Request

COLOURS = ("white", "gray", "black", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
"""Backgrounds that the renderer `glyphs` knows."""
_BEGINNINGS = ("", "a ", "the ", "one ", "my ", "this ", "that ", "some ")
_KINDS = (
    *("", " icon", " emoji", " picture", " drawing", " sign", " sketch", " logo", " art", " sticker", " graphic"),
    *(" illustration", " clipart", " symbol", " image", " print", " figure", " design"),
)
_ON_COLOUR = (
    *("on {colour}", "icon on {colour}", "emoji on {colour}", "picture on {colour}", "against {colour}"),
    *("over {colour}", "on a {colour} background", "on plain {colour}", "with {colour} background"),
)
_BESIDE = (
    *("{concept} and {other}", "{concept} with {other}", "{concept} beside {other}", "{concept} next to {other}"),
    *("{concept} by {other}", "{concept}, {other}", "{concept} together with {other}", "{concept} near {other}"),
    *("a {concept} and a {other}", "a {concept} with a {other}", "a {concept} beside a {other}"),
    *("the {concept} and the {other}", "the {concept} with the {other}", "a {concept} next to a {other}"),
    *("one {concept} and one {other}", "{concept} icon and {other} icon"),
)


def read_emoji_templates() -> tuple[str, ...]:
    """Return the 187 templates: `{concept}` in each, in 27 `{colour}`, in 16 `{other}`, where a second concept goes."""
    plain = [f"{beginning}{{concept}}{kind}" for beginning in _BEGINNINGS for kind in _KINDS]
    coloured = [f"{beginning}{{concept}} {ending}" for beginning in _BEGINNINGS[:3] for ending in _ON_COLOUR]
    return (*plain, *coloured, *_BESIDE)


@lru_cache(maxsize=1)
def companions() -> tuple[str, ...]:
    """Return the concepts of which a second one is drawn: the bank `emoji-demo`."""
    return tuple(read_listing("concepts.bank", "emoji-demo").entries)


def choices_hash() -> str:
    """Return the hash of what `{colour}` and `{other}` are drawn from, as 64 hexadecimal digits."""
    return fingerprint({"colours": COLOURS, "companions": companions()})


def with_choices(request: Request) -> str:
    """Return a request's prompt with `{colour}` and `{other}` filled by its seed; the other is never the concept."""
    prompt = request.prompt
    if "{colour}" in prompt:
        prompt = prompt.replace("{colour}", COLOURS[derive(request.seed, 0, "colour") % len(COLOURS)])
    if "{other}" in prompt:
        others = [name for name in companions() if name != request.concept]
        prompt = prompt.replace("{other}", others[derive(request.seed, 0, "companion") % len(others)])
    return prompt
