"""The report as one HTML file: styles, plots and pictures are in it, scripts there are none."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import TYPE_CHECKING

from synthclip_hpc.errors import UserError
from synthclip_hpc.reporting.blocks import Block, Report
from synthclip_hpc.reporting.plots import PALETTE

if TYPE_CHECKING:
    from markupsafe import Markup

_TEMPLATE = "page.html.jinja"
_STYLE = "page.css"
_FOLDER = Path(__file__).parent


def to_html(report: Report) -> str:
    """Return the page. Raises UserError when jinja2 is not installed."""
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise UserError(
            "the report needs jinja2, which is not installed: pip install 'synthclip-hpc[report]'"
        ) from error
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["kind"] = kind_of
    environment.filters["rich"] = rich
    environment.filters["svg"] = inline_svg
    environment.filters["data_uri"] = data_uri
    environment.filters["percent"] = lambda share: f"{100 * min(1.0, max(0.0, share)):.2f}%"
    style = Markup((_FOLDER / _STYLE).read_text(encoding="utf-8"))
    return environment.get_template(_TEMPLATE).render(report=report, style=style)


def kind_of(block: Block) -> str:
    """Return which kind of block this is, for the template."""
    return type(block).__name__.lower()


def rich(text: str) -> Markup:
    """Return escaped text with its one formula set as such, and no line that begins with a percent sign."""
    from markupsafe import Markup, escape

    unbroken = re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", str(escape(text)))
    return Markup(unbroken.replace("Δ_MTL", "Δ<sub>MTL</sub>"))


def inline_svg(svg: str, alt: str) -> Markup:
    """Return a plot as an element of a page: it takes the page's colours and type, and the width it is given."""
    from markupsafe import Markup, escape

    found = re.search(r"<svg\b.*</svg>", svg, re.DOTALL)
    if found is None:
        raise ValueError(f"not an SVG: {svg[:80]}")
    svg = re.sub(r"<metadata>.*?</metadata>", "", found[0], flags=re.DOTALL)
    svg = re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"font: (?:\w+ )?([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    referred = set(re.findall(r"#([\w-]+)", svg))
    # Names of groups, the same in every plot, which nothing refers to.
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in referred else "", svg)
    for name, colour in PALETTE.items():
        svg = re.sub(re.escape(colour), f"var(--{name})", svg, flags=re.IGNORECASE)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1)
    return Markup(svg)


def data_uri(image: bytes) -> str:
    """Return a JPEG as a data URI."""
    return f"data:image/jpeg;base64,{base64.b64encode(image).decode()}"
