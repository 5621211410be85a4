"""The report as Markdown, which names the plots and sheets that lie beside it."""

from __future__ import annotations

from synthclip_hpc.reporting.blocks import Block, Figures, Gallery, Listing, Plot, Report, Table, Text
from synthclip_hpc.reporting.places import PLOTS


def to_markdown(report: Report) -> str:
    """Return the report as GitHub's Markdown."""
    parts = [f"# {_plain(report.title)}"]
    if report.subtitle:
        parts.append(_plain(report.subtitle))
    for section in report.sections:
        parts.append(f"## {_plain(section.title)}")
        parts += [_of(block) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def _of(block: Block) -> str:
    if isinstance(block, Text):
        return f"> {_plain(block.text)}" if block.kind else _plain(block.text)
    if isinstance(block, Figures):
        lines = []
        for item in block.items:
            beside = f" ({_plain(item.beside)})" if item.beside else ""
            lines.append(f"- **{_plain(item.value)}** {_plain(item.label)}{beside}")
        return "\n".join(lines)
    if isinstance(block, Table):
        return _folded(block.title, _table(block)) if block.folded else f"### {_plain(block.title)}\n\n{_table(block)}"
    if isinstance(block, Plot):
        note = f"\n\n{_plain(block.note)}" if block.note else ""
        return f"### {_plain(block.title)}\n\n![{_plain(block.alt)}]({PLOTS}/{block.name}.png){note}"
    if isinstance(block, Gallery):
        return f"### {_plain(block.title)}\n\n![{_plain(block.note)}]({PLOTS}/{block.name}.png)"
    assert isinstance(block, Listing)
    fence = "```" if "```" not in block.text else "`````"
    return _folded(block.title, f"{fence}\n{block.text}\n{fence}")


def _table(table: Table) -> str:
    aligned = ["---" if place < table.num_text_columns else "---:" for place in range(len(table.head))]
    rows = [[_plain(title) for title in table.head], aligned]
    for row in table.rows:
        cells = [_plain(value.text) for value in row.cells]
        rows.append([f"**{cell}**" if cell and row.kind == "ours" else cell for cell in cells])
    lines = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    return f"{lines}\n\n{_plain(table.note)}" if table.note else lines


def _folded(title: str, inside: str) -> str:
    return f"<details><summary>{_plain(title)}</summary>\n\n{inside}\n\n</details>"


def _plain(text: str) -> str:
    """Keep what a user's names hold from meaning something in Markdown or HTML."""
    flat = " ".join(text.split())
    for mark in ("\\", "|", "*", "_", "`", "[", "]"):
        flat = flat.replace(mark, f"\\{mark}")
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
