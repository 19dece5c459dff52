"""`python -m simulations.docs_tables` writes tables into README.md and docs/, comments into conf/.

What stands between ``<!-- generated: … -->`` and ``<!-- end -->`` comes from conf/ and from what
each strategy declares and each class says of its fields, so that it cannot go out of date.
"""

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from fedunlearn.flower import reason_against
from fedunlearn.history import Needs
from fedunlearn.unlearning import UnlearningStrategy

from .compare import for_all
from .configured import build
from .hyperparameters import REQUIRED, Hyperparameter, classes, hyperparameters, keys
from .yaml_comments import CONF, files

ROOT = Path(__file__).parents[1]
CONFIGS = CONF / "strategy"
PAGES = ROOT / "docs" / "strategies"
PLAIN = ROOT / "docs" / "flower.md"
VALUES = ROOT / "docs" / "hyperparameters.md"
CHOOSING = ROOT / "docs" / "choosing.md"

KEPT = ("nothing", "models", "updates", "updates and models", "sums of features")
"""What a server may have kept of training, as `stored` says it."""

COOPERATION = (
    "nobody works",
    "the server does",
    "those who remain do",
    "the leavers do, before they go",
)
"""Who may work for the forgetting; whoever is asked for less stands further left."""

GUARANTEES = {
    "none": "none",
    "certified": "certified: (ε, δ)-close to retraining under its assumptions",
    "exact": "exact",
}


def names() -> list[str]:
    """Return the strategies of conf/strategy."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def singles() -> list[str]:
    """Return those of `names` that ``strategies=all`` stands for.

    Those that run others are not among them, nor those that only some nets or data fit.
    """
    return [name for name in names() if for_all(_part(name))]


def _part(name: str) -> DictConfig:
    """Return what the YAML of a strategy says."""
    part = OmegaConf.load(CONFIGS / f"{name}.yaml")
    assert isinstance(part, DictConfig)
    return part


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
        method = strategy(name)
        page = f"docs/strategies/{name}.md"
        title = f"[`{name}`]({page if (ROOT / page).exists() else f'strategies/{name}.py'})"
        cells = (
            title,
            idea(name, method),
            stored(method.needs),
            workers(method.needs),
            method.guarantee,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def facts(name: str) -> str:
    """Return what one strategy declares, and its values, as two tables in Markdown."""
    method = strategy(name)
    values = list(keys((CONFIGS / f"{name}.yaml").read_text()))
    lines = [
        "| declares | |",
        "|---|---|",
        f"| training stores | {stored(method.needs)} |",
        f"| who works for it | {workers(method.needs)} |",
        f"| stored rounds | {'replaced by those it runs' if method.needs.replaces else 'stay'} |",
        f"| promises | {GUARANTEES[method.guarantee]} |",
        "",
        *(table((key.path, key.value, key.of) for key in values) if values else ()),
    ]
    return "\n".join(lines).rstrip()


def table(values: Iterable[tuple[str, str, Hyperparameter]]) -> list[str]:
    """Return a table in Markdown of keys, their defaults, and what their classes say of them."""
    lines = ["| value | default | range | |", "|---|---|---|---|"]
    for name, default, what in values:
        if default:  # or it is made of the keys below it
            usual = default if default == REQUIRED else f"`{default}`"
            cells = (f"`{name}`", usual, what.takes, what.meaning)
            lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return lines


def all_classes() -> str:
    """Return tables of the values of all classes that conf/ names, but strategies, in Markdown."""
    lines, told = [], set()
    groups = {g.name: sorted(g.glob("*.yaml")) for g in sorted(CONF.iterdir()) if g.is_dir()}
    for group, paths in {"answer": [CONF / "config.yaml"], **groups}.items():
        listed = {
            cls: None
            for path in paths
            for cls in classes(path.read_text())
            if hyperparameters(cls) and cls not in told and not is_strategy(cls)
        }
        told |= set(listed)
        lines += [f"## {group}", ""] if listed else []
        for cls in listed:
            rows = [(one.name, one.default, one) for one in hyperparameters(cls)]
            lines += [f"### {cls.__name__}", "", _about(cls), "", *table(rows), ""]
    return "\n".join(lines).rstrip()


def is_strategy(cls: type) -> bool:
    """Say whether a class has a page of its own in docs/strategies."""
    return cls.__module__.startswith("strategies.")


def _about(cls: type) -> str:
    """Return the first line of a class's docstring, with code as Markdown writes it."""
    return (inspect.getdoc(cls) or "").splitlines()[0].replace("``", "`")


def idea(name: str, method: UnlearningStrategy) -> str:
    """Return what a strategy does in a line: the comment that its YAML begins with, or its file."""
    choice = CONFIGS / f"{name.partition('(')[0]}.yaml"  # a variant is called puf(eta=20), say
    first = choice.read_text(encoding="utf-8").partition("\n")[0] if choice.exists() else ""
    if first.startswith("# "):
        return first.removeprefix("# ").rstrip(".")
    module = inspect.getmodule(type(method))
    assert module is not None
    assert module.__doc__ is not None
    return module.__doc__.splitlines()[0].partition(": ")[2].rstrip(".")


def cases() -> str:
    """Return the table of strategies by what the server kept and who works, in Markdown."""
    found: dict[tuple[str, str], list[str]] = {}
    for name in names():
        method = strategy(name)
        page = f"strategies/{name}.md"
        title = f"[`{name}`]({page})" if (PAGES / f"{name}.md").exists() else f"`{name}`"
        mark = "" if method.guarantee == "none" else f" (*{method.guarantee}*)"
        place = (stored(replace(method.needs, every=1)), _column(method.needs))
        found.setdefault(place, []).append(title + mark)
    heads = " | ".join(COOPERATION)
    lines = [f"| the server kept | {heads} |", f"|---|{'---|' * len(COOPERATION)}"]
    for kept in KEPT:
        cells = (", ".join(found.pop((kept, who), [])) or "" for who in COOPERATION)
        lines.append(f"| {kept} | {' | '.join(cells)} |")
    assert not found, found
    return "\n".join(lines)


def _column(needs: Needs) -> str:
    """Return the first of `COOPERATION` that gives these needs whom they ask."""
    nobody, server, others, leavers = COOPERATION
    if needs.leaver:
        return leavers
    if needs.remaining:
        return others
    return server if needs.proxy else nobody


def plain_apps() -> str:
    """Return the table of methods that plain Flower apps can be served by, in Markdown."""
    lines = ["| method | with a plain Flower app |", "|---|---|"]
    for name in names():
        found = strategy(name)
        against = reason_against(found).removesuffix(" Choose another method.")
        means = found.needs.updates and not against
        served = "yes; its equations replay FedAvg's weighted means" if means else "yes"
        title = f"[`{type(found).__name__}`](strategies/{name}.md)"
        title = title if (PAGES / f"{name}.md").exists() else f"`{type(found).__name__}`"
        lines.append(f"| {title} | {f'no: {against}' if against else served} |")
    return "\n".join(lines)


def served_by_plain_apps() -> frozenset[str]:
    """Return the strategies of conf/strategy that plain Flower apps can be served by."""
    return frozenset(name for name in names() if not reason_against(strategy(name)))


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
            ("the server, by a test on labelled records", needs.verifies),
        )
        if wanted
    ]
    return "; ".join(who) if who else "nobody"


def filled(text: str, tables: Mapping[str, str]) -> str:
    """Return ``text`` with each table between its two marks."""
    for name, table in tables.items():
        begin, end = f"<!-- generated: {name} -->\n", "<!-- end -->"
        before, mark, rest = text.partition(begin)
        if mark:
            text = f"{before}{begin}\n{table}\n\n{end}{rest.partition(end)[2]}"
    return text


def pages() -> dict[Path, str]:
    """Return every page that holds tables and every YAML of conf/, as it should be."""
    by_page = {
        ROOT / "README.md": filled((ROOT / "README.md").read_text(), {"strategies": overview()})
    }
    by_page[PLAIN] = filled(PLAIN.read_text(), {"plain apps": plain_apps()})
    by_page[CHOOSING] = filled(CHOOSING.read_text(), {"cases": cases()})
    by_page[VALUES] = filled(VALUES.read_text(), {"values": all_classes()})
    for path in sorted(PAGES.glob("*.md")):
        by_page[path] = filled(path.read_text(), {"facts": facts(path.stem)})
    return by_page | files()


def main() -> None:
    """Write the pages and the comments."""
    for path, text in pages().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
