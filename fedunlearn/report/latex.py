"""Tables for papers: booktabs, with everything escaped that LaTeX would take for a command."""

import re
from collections.abc import Iterable

from fedunlearn.report.cells import ABSENT, Cell, Table
from fedunlearn.wording import MINUS

PACKAGES = ("booktabs", "graphicx", "amssymb")
"""What a document that takes these tables must load."""

ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    MINUS: r"$-$",
    ABSENT: "--",
    "…": r"\dots{}",
    "✓": r"$\checkmark$",
    "▲": r"$\blacktriangle$",
    "▼": r"$\blacktriangledown$",
    "◆": r"$\blacklozenge$",
    "ε": r"$\varepsilon$",
    "δ": r"$\delta$",
}
"""What stands for each character that needs it; the signs of verdicts come from amssymb."""

_SPECIAL = re.compile("|".join(map(re.escape, ESCAPES)))


def escape(text: str) -> str:
    """Return text as LaTeX prints it."""
    return _SPECIAL.sub(lambda match: ESCAPES[match[0]], " ".join(text.split()))


def latex(table: Table) -> str:
    """Return a floating table; the columns are made narrower only where they would not fit."""
    shape = "l" + ("r" if table.numeric else "l") * (len(table.headings) - 1)
    label = re.sub(r"[^a-z0-9]+", "-", table.name.lower())
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape(table.caption)}.}}",
        rf"  \label{{tab:{label}}}",
        r"  \begingroup\setbox0=\hbox{%",
        rf"  \begin{{tabular}}{{@{{}}{shape}@{{}}}}",
        r"    \toprule",
        f"    {_row(map(escape, table.headings))}",
        r"    \midrule",
        *(f"    {_row(map(_cell, row))}" for row in table.rows),
        r"    \bottomrule",
        r"  \end{tabular}}%",
        r"  \ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\box0}\else\box0\fi\endgroup",
        *(rf"  \par\smallskip\footnotesize {escape(note)}" for note in table.notes),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def document(names: Iterable[str]) -> str:
    """Return a document that prints the tables in the files ``names``."""
    packages = "\n".join(rf"\usepackage{{{package}}}" for package in PACKAGES)
    inputs = "\n".join(rf"\input{{{name}}}" for name in names)
    return (
        f"\\documentclass{{article}}\n\\usepackage[utf8]{{inputenc}}\n{packages}\n"
        f"\\begin{{document}}\n{inputs}\n\\end{{document}}\n"
    )


def _cell(cell: Cell) -> str:
    text = escape(cell.plain)
    bold = rf"\textbf{{{escape(cell.text)}}}" if cell.best else escape(cell.text)
    text = f"{bold} $\\pm$ {escape(cell.spread)}" if cell.spread else bold
    return f"{text} {escape(cell.symbol)}" if cell.symbol else text


def _row(cells: Iterable[str]) -> str:
    return rf"{' & '.join(cells)} \\"
