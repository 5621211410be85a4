"""A table as CSV and as LaTeX."""

from __future__ import annotations

import csv
import io

from synthclip_hpc.reporting.blocks import Table

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "Δ": r"$\Delta$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "—": "---",
    "…": r"\dots{}",
}


def to_csv(table: Table) -> str:
    """Return the table as CSV, RFC 4180, with a line of titles."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(table.head)
    writer.writerows([value.text for value in row.cells] for row in table.rows)
    return out.getvalue()


def to_latex(table: Table) -> str:
    """Return the table as a LaTeX `table` for the package booktabs; rows of the run itself are bold."""
    columns = "".join("l" if place < table.num_text_columns else "r" for place in range(len(table.head)))
    lines = [
        "% \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{_escaped(table.title)}}}",
        f"\\label{{tab:{table.name}}}",
        f"\\begin{{tabular}}{{{columns}}}",
        "\\toprule",
        _line([_escaped(title) for title in table.head]),
        "\\midrule",
    ]
    before = table.rows[0].kind if table.rows else ""
    for row in table.rows:
        if row.kind != before:
            lines.append("\\midrule")
            before = row.kind
        cells = [_escaped(value.text) for value in row.cells]
        lines.append(_line([f"\\textbf{{{cell}}}" if cell and row.kind == "ours" else cell for cell in cells]))
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", "\\end{table}", ""])


def _line(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _escaped(text: str) -> str:
    parts = ("".join(_LATEX.get(character, character) for character in part) for part in text.split("Δ_MTL"))
    return r"$\Delta_{\mathrm{MTL}}$".join(parts)
