"""The report in Markdown: the answers and the tables, for a repository or a message."""

import re
from collections.abc import Iterable

from fedunlearn.results.report.cells import Cell, Table
from fedunlearn.results.report.prose import parts

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~$])")


def escape(text: str) -> str:
    """Return text as Markdown shows it, code as code, nothing else marked up, in its cell."""
    shown = []
    for part, code in parts(" ".join(text.split())):
        plain = _SPECIAL.sub(r"\\\1", part).replace("&", "&amp;")
        shown.append("`" + part.replace("|", r"\|") + "`" if code else plain)
    return "".join(shown)


def markdown(table: Table) -> str:
    """Return a table with its caption above and its notes below."""
    columns = len(table.headings)
    rule = "---:" if table.numeric else "---"
    lines = [
        f"**{escape(table.caption)}**",
        "",
        _row(map(escape, table.headings)),
        _row(["---", *[rule] * (columns - 1)]),
        *(_row(map(_cell, row)) for row in table.rows),
    ]
    for note in table.notes:
        lines += ["", f"*{escape(note)}*"]
    return "\n".join(lines) + "\n"


def figure(title: str, file: str) -> str:
    """Return a figure with its title as text alternative."""
    return f"![{escape(title)}]({file})\n"


def _cell(cell: Cell) -> str:
    text = escape(cell.plain)
    text = f"**{text}**" if cell.best else text
    text = f"[{text}]({cell.href})" if cell.href else text
    return f"{text} {cell.symbol}" if cell.symbol else text


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
