"""What is printed, as text of a terminal of 100 columns."""

import io

from rich.console import Console


def text(*printed):
    console = Console(width=100, record=True, file=io.StringIO())
    for each in printed:
        console.print(each)
    return console.export_text()
