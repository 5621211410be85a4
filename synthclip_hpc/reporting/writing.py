"""Writing a report into its folder: the page, Markdown, tables as CSV and LaTeX, plots as PNG and SVG.

Each file, and each folder of files, appears by one rename: whoever opens the folder meanwhile finds the old report or
the new one. Other things in the folder stay.
"""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

from sharding.files import make_directory, replace_file
from synthclip_hpc.dataset.folder import exchange
from synthclip_hpc.reporting.blocks import Gallery, Report
from synthclip_hpc.reporting.html import to_html
from synthclip_hpc.reporting.markdown import to_markdown
from synthclip_hpc.reporting.places import MARKDOWN, PAGE, PLOTS, TABLES
from synthclip_hpc.reporting.table_files import to_csv, to_latex

_COLUMNS_OF_SHEET = 6


def write_report(report: Report, folder: Path, staged: Path | None = None) -> Path:
    """Write everything; return the path of the page. Raises UserError for a missing package.

    `staged`: a fresh folder on the same file system to write into first; it is gone afterwards, but for a kill.
    """
    page, markdown = to_html(report), to_markdown(report)
    make_directory(folder)
    staged = staged or folder / f".making-{secrets.token_hex(6)}"
    try:
        make_directory(staged / TABLES)
        make_directory(staged / PLOTS)
        for table in report.tables():
            (staged / TABLES / f"{table.name}.csv").write_text(to_csv(table), encoding="utf-8", newline="")
            (staged / TABLES / f"{table.name}.tex").write_text(to_latex(table), encoding="utf-8")
        for plot in report.plots():
            (staged / PLOTS / f"{plot.name}.svg").write_text(plot.svg, encoding="utf-8")
            (staged / PLOTS / f"{plot.name}.png").write_bytes(plot.png)
        for gallery in report.galleries():
            (staged / PLOTS / f"{gallery.name}.png").write_bytes(_sheet(gallery))
        for name in (TABLES, PLOTS):
            exchange(staged / name, folder / name, staged / f"old-{name}")
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    replace_file(folder / MARKDOWN, markdown.encode())
    replace_file(folder / PAGE, page.encode())
    return folder / PAGE


def _sheet(gallery: Gallery) -> bytes:
    from synthclip_hpc.dataset.contact_sheet import contact_sheet

    return contact_sheet([(one.image, one.caption) for one in gallery.pictures], columns=_COLUMNS_OF_SHEET)
