"""What the catalogue tells on a terminal: all data sets, or all about one."""

from __future__ import annotations

from evals import catalogue
from evals.catalogue import DataSetInfo
from evals.errors import EvalError


def overview(about: str, keys: str) -> str:
    """Return the help of `prepare`: how it is called, its keys, and a line for each data set and collection.

    A file of the catalogue that cannot be read is told in its place. Raises EvalError for that of the collections.
    """
    usage, _, text = about.partition("\n\n")
    lines = [
        usage,
        "",
        text.strip(),
        "",
        "keys:",
        keys,
        "",
        "data sets (python -m evals.prepare NAME --help tells more):",
    ]
    lines += [f"  {name:<16} {_line(name)}" for name in catalogue.names()]
    lines += ["", "collections (names for several of them):"]
    lines += [f"  {name:<16} {', '.join(catalogue.collection(name))}" for name in catalogue.collections()]
    return "\n".join(lines)


def facts_of(info: DataSetInfo) -> str:
    """Return what the catalogue knows of a data set, one fact a line."""
    prompts = catalogue.prompts_of(info)
    rows = {
        "is": f"{info.title} ({info.kind})",
        "images": ", ".join(f"{split} {info.images(split):,}" for split in info.splits),
        "classes": "" if info.classes is None else str(info.classes),
        "captions": ", ".join(f"{split} {count:,}" for split, count in info.captions.items()),
        "labels": info.restricted or "",
        "metric": info.metric,
        "templates": f"{len(prompts)}, the first: {prompts[0]}" if prompts else "",
        "source": _ways(info),
        "from": info.homepage,
        "licence": info.licence,
        "reference": info.reference,
        "note": info.note,
    }
    return "\n".join([info.name, *(f"  {key:<10} {value}" for key, value in rows.items() if value)])


def _line(name: str) -> str:
    try:
        info = catalogue.find(name)
    except EvalError as error:
        return f"cannot be used: {error}"
    return f"{info.title}; from {_ways(info)}; licence: {info.licence}"


def _ways(info: DataSetInfo) -> str:
    ways = [f"torchvision's {info.torchvision['class']}"] if info.torchvision else []
    ways += [f"hub:{info.hub['id']}"] if info.hub else []
    ways += ["images and captions=" if info.kind == "retrieval" else "class folders"]
    return ", ".join(ways)
