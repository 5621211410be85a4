"""Writing a report into its folder: the page, Markdown, tables as CSV and LaTeX, plots as PNG and SVG.

Each file appears by one rename: whoever opens it meanwhile finds the old one or the new one. A list in the folder tells
which files a report has written; of these, what the new report has no more is removed, unless somebody has changed it.
No other file is touched: the folder may be one that people keep their own things in.
"""

from __future__ import annotations

import errno
import hashlib
import json
import secrets
import shutil
from pathlib import Path

from sharding.canonical import canonical_json
from sharding.files import checksum, make_directory, replace_file
from synthclip_hpc.errors import UserError
from synthclip_hpc.reporting.blocks import Gallery, Report
from synthclip_hpc.reporting.html import to_html
from synthclip_hpc.reporting.markdown import to_markdown
from synthclip_hpc.reporting.places import LIST, MARKDOWN, PAGE, PLOTS, TABLES
from synthclip_hpc.reporting.table_files import to_csv, to_latex

_COLUMNS_OF_SHEET = 6
_FULL = (errno.ENOSPC, errno.EDQUOT)
"""What is nobody's mistake."""


def write_report(report: Report, folder: Path, staged: Path | None = None, *, is_own: bool = False) -> Path:
    """Write everything; return the path of the page.

    `staged`: a fresh folder on the same file system to write into first; it is gone afterwards, but for a kill.
    `is_own`: the folder is a run's own for its report, so a file of a report's name is a report's; elsewhere only one
    that the list has. Raises UserError for a file in the way that no report has written, before anything is changed,
    for a folder that cannot be written, and for a missing package.
    """
    files = _files(report)
    written = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    before = _listed(folder)
    for name in files:
        if not is_own and name not in before and (folder / name).exists():
            raise UserError(
                f"out={folder}: {name} is there, and no report has written it (or one of an older version); move it "
                "away, or give another folder"
            )
    try:
        for name in (TABLES, PLOTS):
            make_directory(folder / name)
        # Before the first file is there: a kill leaves none that the list does not have.
        replace_file(folder / LIST, canonical_json(before | written))
    except OSError as error:
        if is_own or error.errno in _FULL:
            raise
        raise UserError(f"out={folder}: cannot be written ({error.strerror}); name a writable folder") from error
    staged = staged or folder / f".making-{secrets.token_hex(6)}"
    try:
        for name, content in files.items():
            make_directory((staged / name).parent)
            (staged / name).write_bytes(content)
        for name in files:
            (staged / name).replace(folder / name)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    for name in before.keys() - files.keys():
        if (folder / name).is_file() and checksum(folder / name)[1] == before[name]:
            (folder / name).unlink()
    replace_file(folder / LIST, canonical_json(written))
    return folder / PAGE


def _files(report: Report) -> dict[str, bytes]:
    """Return the content of all files by their path below the folder; the page, which shows it all, comes last."""
    files: dict[str, bytes] = {}
    for table in report.tables():
        files[f"{TABLES}/{table.name}.csv"] = to_csv(table).encode()
        files[f"{TABLES}/{table.name}.tex"] = to_latex(table).encode()
    for plot in report.plots():
        files[f"{PLOTS}/{plot.name}.svg"] = plot.svg.encode()
        files[f"{PLOTS}/{plot.name}.png"] = plot.png
    for gallery in report.galleries():
        files[f"{PLOTS}/{gallery.name}.png"] = _sheet(gallery)
    return {**files, MARKDOWN: to_markdown(report).encode(), PAGE: to_html(report).encode()}


def _listed(folder: Path) -> dict[str, str]:
    """Return which files reports have written, with their hashes; none where there is no list that can be read."""
    try:
        found = json.loads((folder / LIST).read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: str(sha) for name, sha in found.items() if name in (MARKDOWN, PAGE) or _is_below(name)}


def _is_below(name: str) -> bool:
    part, _, file = name.partition("/")
    return part in (TABLES, PLOTS) and file == Path(file).name


def _sheet(gallery: Gallery) -> bytes:
    from synthclip_hpc.dataset.contact_sheet import contact_sheet

    return contact_sheet([(one.image, one.caption) for one in gallery.pictures], columns=_COLUMNS_OF_SHEET)
