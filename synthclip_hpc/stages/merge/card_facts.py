"""What the data card tells of a run: its configuration, its figures, and whose licences hold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthclip_hpc.config import RunConfig, get
from synthclip_hpc.dataset.card import FOREIGN, CardFacts, SourceFacts
from synthclip_hpc.dataset.columns import OWN_SOURCE
from synthclip_hpc.rendering.glyphs.styles import STYLES

if TYPE_CHECKING:
    from synthclip_hpc.dataset.assembling import Assembled
    from synthclip_hpc.dataset.sources import TarSource
    from synthclip_hpc.run import Run

_CAPTIONS = ("captions.engine", "captions.per_concept")
_MODEL = ("captions.prompt", "captions.model", "captions.revision", "captions.temperature", "captions.top_p")
_BALANCE = ("balance.target", "balance.t", "balance.mode", "balance.case")
_RENDER = ("render.renderer", "render.preset", "render.size", "render.jpeg_quality", "render.jpeg_subsampling")
_MODEL_TEXT = (
    "The images were drawn by the model that is named above. Its licence, and the conditions it puts on its outputs, "
    "hold for them; they are not repeated here."
)
_OTHERS_TEXT = "Images and captions of {names} are under the terms of where they come from."


def card_facts(
    config: RunConfig, run: Run, assembled: Assembled, sources: Sequence[TarSource], record: Mapping[str, Any]
) -> CardFacts:
    """Return the facts of the card. `record` is that of the run's first image, empty when there is none."""
    from synthclip_hpc.stages.balance.report import SUFFIX

    report = json.loads(run.phase("balance", "coverage").data_path(0, SUFFIX).read_bytes())
    licence, text = _licence(config, [source.name for source in sources])
    return CardFacts(
        sources=_sources(config, assembled, sources),
        num_tars=len(assembled.tars),
        image_record=record,
        settings=_settings(config),
        licence=licence,
        licence_text=text,
        coverage=report["sets"]["after"],
    )


def _sources(config: RunConfig, assembled: Assembled, sources: Sequence[TarSource]) -> list[SourceFacts]:
    found = []
    caps = {source.name: source.cap for source in sources}
    for name in (OWN_SOURCE, *caps):
        places = [place for place, tar in enumerate(assembled.tars) if tar.source == name]
        num_tars = len(assembled.tars) if config.merge.even else len(places)
        first = None if config.merge.even else places[0] if places else 0
        rejects = {reason: number for (source, reason), number in assembled.rejects.items() if source == name}
        found.append(SourceFacts(name, assembled.samples[name], first, num_tars, rejects, caps.get(name)))
    return found


def _settings(config: RunConfig) -> dict[str, Any]:
    keys: tuple[str, ...] = ("seed", "concepts.bank")
    if config.balance.source is None:
        keys += _CAPTIONS if config.captions.engine == "template" else (*_CAPTIONS, *_MODEL)
    else:
        keys += ("balance.source",)
    return {key: _portable(get(config, key)) for key in (*keys, *_BALANCE, *_RENDER)}


def _portable(value: Any) -> Any:
    """Return a path's last part: where it lay on one machine is nobody else's business."""
    return Path(value).name if isinstance(value, str) and value.startswith(("/", "~")) else value


def _licence(config: RunConfig, others: Sequence[str]) -> tuple[str, str]:
    """Return (identifier, text) of the licence of the images."""
    texts, licence = [_MODEL_TEXT], FOREIGN
    if config.render.renderer == "glyphs":
        style = STYLES[config.render.style]
        texts = [f"{style.attribution} <{style.licence_url}>, <{style.source_url}>"]
        licence = style.licence.lower()
    if others:
        texts.append(_OTHERS_TEXT.format(names=", ".join(others)))
        licence = FOREIGN
    return licence, "\n\n".join(texts)
