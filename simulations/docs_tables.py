"""`python -m simulations.docs_tables` writes the tables of strategies into README.md and docs/.

What stands between ``<!-- generated: … -->`` and ``<!-- end -->`` comes from conf/strategy and from
what each strategy declares, so that it cannot go out of date.
"""

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from omegaconf import OmegaConf

from fedunlearn.history import Needs
from fedunlearn.unlearning import UnlearningStrategy

from .configured import build

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "conf" / "strategy"
PAGES = ROOT / "docs" / "strategies"

GUARANTEES = {
    "none": "none",
    "certified": "certified: (ε, δ)-close to retraining under its assumptions",
    "exact": "exact",
}


def names() -> list[str]:
    """Return the strategies of conf/strategy."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def strategy(name: str) -> UnlearningStrategy:
    """Build a strategy with the values of its YAML."""
    built: UnlearningStrategy = build(f"strategy={name}", OmegaConf.load(CONFIGS / f"{name}.yaml"))
    return built


def overview() -> str:
    """Return the table of all strategies, in Markdown: a row each, by what it declares."""
    lines = [
        "| strategy | idea | training stores | who works for it | promises |",
        "|---|---|---|---|---|",
    ]
    for name in names():
        found = strategy(name)
        page = f"docs/strategies/{name}.md"
        title = f"[`{name}`]({page if (ROOT / page).exists() else f'strategies/{name}.py'})"
        cells = (title, idea(found), stored(found.needs), workers(found.needs), found.guarantee)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def facts(name: str) -> str:
    """Return what one strategy declares, and its values, as two tables in Markdown."""
    found = strategy(name)
    lines = [
        "| declares | |",
        "|---|---|",
        f"| training stores | {stored(found.needs)} |",
        f"| who works for it | {workers(found.needs)} |",
        f"| stored rounds | {'replaced by those it runs' if found.needs.replaces else 'stay'} |",
        f"| promises | {GUARANTEES[found.guarantee]} |",
        "",
        "| value | default | |",
        "|---|---|---|",
    ]
    values = list(_values(name))
    lines += [f"| `{key}` | {default} | {what} |" for key, default, what in values]
    return "\n".join(lines if values else lines[:-3])


def idea(found: UnlearningStrategy) -> str:
    """Return the first sentence of a strategy's file, without its name."""
    module = inspect.getmodule(type(found))
    assert module is not None
    assert module.__doc__ is not None
    return module.__doc__.splitlines()[0].partition(": ")[2].rstrip(".")


def stored(needs: Needs) -> str:
    """Say what training keeps for these needs."""
    what = [
        word
        for word, wanted in (
            ("updates", needs.updates),
            ("models", needs.models),
            ("sums of features", needs.statistics),
        )
        if wanted
    ]
    every = f" of every round in {needs.every}" if needs.rounds and needs.every > 1 else ""
    return " and ".join(what) + every if what else "nothing"


def workers(needs: Needs) -> str:
    """Say who works while these needs are served."""
    who = [
        word
        for word, wanted in (
            ("those who remain", needs.remaining),
            ("the leavers", needs.leaver),
            ("the server, on unlabelled records", needs.proxy),
        )
        if wanted
    ]
    return "; ".join(who) if who else "nobody"


def _values(name: str) -> Iterator[tuple[str, str, str]]:
    """Yield key, default and comment of each line of a YAML that has a value."""
    above: list[tuple[int, str]] = []
    for line in (CONFIGS / f"{name}.yaml").read_text().splitlines():
        match = re.fullmatch(r"( *)(\w+):\s*([^#]*?)\s*(?:#\s*(.*))?", line)
        if match is None or match[2] == "_target_":
            continue
        above = [(depth, key) for depth, key in above if depth < len(match[1])]
        if not match[3]:
            above.append((len(match[1]), match[2]))
            continue
        key = ".".join([*(key for _, key in above), match[2]])
        yield key, f"`{match[3]}`", (match[4] or "").replace("|", "&#124;")


def filled(text: str, tables: Mapping[str, str]) -> str:
    """Return ``text`` with each table between its two marks."""
    for name, table in tables.items():
        begin, end = f"<!-- generated: {name} -->\n", "<!-- end -->"
        before, mark, rest = text.partition(begin)
        if mark:
            text = f"{before}{begin}\n{table}\n\n{end}{rest.partition(end)[2]}"
    return text


def pages() -> dict[Path, str]:
    """Return every page that holds tables, as it should be."""
    found = {
        ROOT / "README.md": filled((ROOT / "README.md").read_text(), {"strategies": overview()})
    }
    for path in sorted(PAGES.glob("*.md")):
        found[path] = filled(path.read_text(), {"facts": facts(path.stem)})
    return found


def main() -> None:
    """Write the pages."""
    for path, text in pages().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
