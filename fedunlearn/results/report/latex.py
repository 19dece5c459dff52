"""Tables for papers: booktabs, with everything escaped that LaTeX would take for a command."""

import re
from collections.abc import Iterable

from fedunlearn.results import MINUS_SIGN
from fedunlearn.results.report.cells import NO_NUMBER, Cell, Table
from fedunlearn.results.report.prose import parts

PACKAGES = ("booktabs", "graphicx", "amssymb", "longtable")
"""What a document that takes these tables must load."""

PAGE = 40
"""Rows that a page has room for; longer tables go on with the next one."""

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
    MINUS_SIGN: r"$-$",
    NO_NUMBER: "--",
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
    """Return text as LaTeX prints it, code in a typewriter's letters."""
    printed = (
        (_SPECIAL.sub(lambda match: ESCAPES[match[0]], part), code)
        for part, code in parts(" ".join(text.split()))
    )
    return "".join(rf"\texttt{{{part}}}" if code else part for part, code in printed)


def latex(table: Table) -> str:
    """Return a floating table, or one over several pages where it has more rows than `PAGE`.

    The columns of a floating one are made narrower only where they would not fit.
    """
    lines = _over_pages(table) if len(table.rows) > PAGE else _floating(table)
    return "\n".join(lines) + "\n"


def _floating(table: Table) -> list[str]:
    return [
        r"\begin{table}",
        r"  \centering",
        f"  {_caption(table)}",
        r"  \begingroup\setbox0=\hbox{%",
        rf"  \begin{{tabular}}{{{_shape(table)}}}",
        *_head(table),
        *_body(table),
        r"    \bottomrule",
        r"  \end{tabular}}%",
        r"  \ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\box0}\else\box0\fi\endgroup",
        *(rf"  \par\smallskip\footnotesize {escape(note)}" for note in table.notes),
        r"\end{table}",
    ]


def _over_pages(table: Table) -> list[str]:
    return [
        r"\begingroup\footnotesize",
        rf"\begin{{longtable}}{{{_shape(table)}}}",
        rf"  {_caption(table)} \\",
        *_head(table),
        r"  \endhead",
        r"  \bottomrule",
        r"  \endfoot",
        *_body(table),
        r"\end{longtable}",
        *(rf"\par\smallskip\noindent {escape(note)}" for note in table.notes),
        r"\endgroup",
    ]


def _caption(table: Table) -> str:
    label = re.sub(r"[^a-z0-9]+", "-", table.name.lower())
    return rf"\caption{{{escape(table.caption)}.}}\label{{tab:{label}}}"


def _head(table: Table) -> list[str]:
    return [r"    \toprule", f"    {_row(map(escape, table.headings))}", r"    \midrule"]


def _body(table: Table) -> list[str]:
    return [f"    {_row(map(_cell, row))}" for row in table.rows]


def _shape(table: Table) -> str:
    column = "r" if table.numeric else "l"
    return f"@{{}}l{column * (len(table.headings) - 1)}@{{}}"


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
