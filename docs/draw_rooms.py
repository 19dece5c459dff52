"""Draws docs/rooms.svg from the code's own imports: `python docs/draw_rooms.py`.

A room stands on the floor above the highest room that it imports from. `tests/test_architecture.py`
holds the committed picture to the code.
"""

import ast
import textwrap
from graphlib import TopologicalSorter
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "rooms.svg"

GROUND = "ground files"
WIDTH, GAP, MARGIN, LINE = 1060, 16, 18, 17
INK, GREY, PAPER, BOX, EDGE = "#1b2733", "#5b6b7b", "#ffffff", "#f3f6f9", "#9fb0c0"


def rooms() -> dict[str, list[Path]]:
    """Return the files of each room; files that lie beside the rooms are one, the ground."""
    package = ROOT / "fedunlearn"
    by_room = {GROUND: sorted(package.glob("[!_]*.py"))}
    for face in sorted(package.glob("*/__init__.py")):
        by_room[face.parent.name] = sorted(face.parent.rglob("*.py"))
    return by_room | {
        name: sorted((ROOT / name).glob("*.py")) for name in ("strategies", "simulations")
    }


def imports(files: list[Path], names: set[str]) -> set[str]:
    """Return which of ``names`` the files import from, with the ground where they use it."""
    used = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules = [f"{node.module}.{alias.name}" for alias in node.names]
            for module in modules:
                first, _, rest = module.partition(".")
                place = rest.partition(".")[0] if first == "fedunlearn" else first
                ours = first == "fedunlearn" and place and not place.startswith("_")
                used |= {place if place in names else GROUND} if ours else {first} & names
    return used


def floors(stands_on: dict[str, set[str]]) -> list[list[str]]:
    """Return the rooms of each floor, from the ground up."""
    level: dict[str, int] = {}
    for room in TopologicalSorter(stands_on).static_order():
        level[room] = 1 + max((level[below] for below in stands_on[room]), default=-1)
    return [
        [room for room in stands_on if level[room] == floor]
        for floor in range(max(level.values()) + 1)
    ]


def sentence(room: str) -> str:
    """Return the first line of what a room says of itself."""
    if room == GROUND:
        return "What stands under everything; they import nothing of the package."
    face = ROOT / ("fedunlearn" if (ROOT / "fedunlearn" / room).is_dir() else "") / room
    start = face / "__init__.py"
    text = ast.get_docstring(ast.parse(start.read_text())) if start.exists() else None
    return (text or "One unlearning method a file.").split("\n\n")[0].replace("\n", " ")


def named(room: str, files: list[Path]) -> str:
    """Return the names of a room's files and, with a stroke, of the rooms within it."""
    top = ROOT / ("fedunlearn" if room not in ("strategies", "simulations") else "")
    top = top if room == GROUND else top / room
    inner = sorted({file.relative_to(top).parts[0] + "/" for file in files if file.parent != top})
    return ", ".join([f.stem for f in files if f.parent == top and f.stem[0] != "_"] + inner)


def box(room: str, width: int, files: list[Path], below: set[str]) -> tuple[list[str], int]:
    """Return a room's lines of SVG, to be moved to its place, and its height."""
    letters = (width - 2 * MARGIN) // 6
    sentences = textwrap.wrap(sentence(room), letters)
    listed = textwrap.wrap(named(room, files), int(letters * 1.08))
    stands = f"stands on {', '.join(sorted(below))}" if below else ""
    texts = [(room, 17, INK, "bold")]
    texts += [(line, 12.5, INK, "normal") for line in sentences]
    texts += [(line, 11.5, GREY, "normal") for line in listed]
    texts += [(line, 11.5, "#0b5c8a", "normal") for line in textwrap.wrap(stands, letters)]
    height = LINE * len(texts) + 2 * 12
    lines = [
        f'<rect width="{width}" height="{height}" rx="6" fill="{BOX}" stroke="{EDGE}"/>',
        *(
            f'<text x="{MARGIN}" y="{12 + LINE * place + 13}" font-size="{size}" fill="{colour}" '
            f'font-weight="{weight}">{escape(text)}</text>'
            for place, (text, size, colour, weight) in enumerate(texts)
        ),
    ]
    return lines, height


def picture() -> str:
    """Return the house as SVG: floors from the ground up, each room with what it stands on."""
    files = rooms()
    stands_on = {room: imports(its, set(files)) - {room} for room, its in files.items()}
    y, body = MARGIN, list[str]()
    for floor in reversed(floors(stands_on)):
        width = (WIDTH - 2 * MARGIN - GAP * (len(floor) - 1)) // len(floor)
        drawn = [box(room, width, files[room], stands_on[room]) for room in floor]
        for place, (lines, _) in enumerate(drawn):
            body += [
                f'<g transform="translate({MARGIN + place * (width + GAP)},{y})">',
                *lines,
                "</g>",
            ]
        y += max(height for _, height in drawn) + GAP
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" '
        f'height="{y}" font-family="Helvetica, Arial, sans-serif">'
    )
    back = f'<rect width="{WIDTH}" height="{y}" fill="{PAPER}"/>'
    return "\n".join([head, "<title>The rooms of fedunlearn</title>", back, *body, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(picture())
