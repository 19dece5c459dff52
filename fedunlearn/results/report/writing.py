"""Writing a report: the page, Markdown, LaTeX tables and figures of one folder."""

from collections.abc import Sequence
from pathlib import Path

from fedunlearn import files
from fedunlearn.checks import Refused
from fedunlearn.results import find_runs, note_derived
from fedunlearn.results.report.answers import HOW, SIGNS
from fedunlearn.results.report.cells import Table
from fedunlearn.results.report.charts.chart import Chart
from fedunlearn.results.report.charts.export import export
from fedunlearn.results.report.evidence import Declared, gather
from fedunlearn.results.report.latex import document, latex
from fedunlearn.results.report.markdown import escape, figure, markdown
from fedunlearn.results.report.overview import overview
from fedunlearn.results.report.page import page
from fedunlearn.results.report.sections import Report, Section, report
from fedunlearn.results.report.story import setting, title


def write(folder: Path, declared: Declared | None = None) -> list[Path]:
    """Write the report of a run or a multirun into its folder; return its files, the page first.

    Raises `Refused` where there is no run, or where a file cannot be read or written.
    """
    runs = find_runs(folder)
    if runs == [folder]:
        return _of_run(folder, declared or Declared())
    return _of_multirun(folder, runs)


def _of_run(folder: Path, declared: Declared) -> list[Path]:
    evidence = gather(folder, declared)
    if evidence.run.summary.empty:
        raise Refused(f"{folder} has served no request yet, so there is nothing to report.")
    content_of_run = report(evidence)
    head = title(evidence.run.summary, evidence.run.owners)
    below = setting(evidence.run.summary, evidence.config)
    content = {"report": content_of_run, "signs": SIGNS, "how": HOW}
    html = page("run.html", title=head, setting=below, **content)
    text = _markdown(head, below, content_of_run)
    return _written(folder, html, text, content_of_run.tables, content_of_run.charts)


def _of_multirun(folder: Path, runs: Sequence[Path]) -> list[Path]:
    compared = overview(folder, runs)
    content = {name: getattr(compared, name) for name in ("sentences", "sections", "glossary")}
    html = page("multirun.html", title=compared.title, setting=compared.setting, **content)
    parts = [f"# {escape(compared.title)}\n", f"{escape(compared.setting)}\n"]
    parts += [f"- {escape(sentence)}" for sentence in compared.sentences]
    text = "\n".join([*parts, "", *_sections(compared.sections)])
    return _written(folder, html, text, compared.tables, compared.charts)


def _written(
    folder: Path, html: str, text: str, printed: Sequence[Table], charts: Sequence[Chart]
) -> list[Path]:
    written = [
        files.write(folder / "report.html", html.encode()),
        files.write(folder / "report.md", text.encode()),
        *tables(folder, printed),
        *figures(folder, charts),
    ]
    note_derived(folder, written)
    return written


def tables(folder: Path, printed: Sequence[Table]) -> list[Path]:
    """Write each table for LaTeX, and a document that prints all."""
    written = [
        files.write(folder / "tables" / f"{table.name}.tex", latex(table).encode())
        for table in printed
    ]
    whole = document([table.name for table in printed])
    return [*written, files.write(folder / "tables" / "all.tex", whole.encode())]


def figures(folder: Path, charts: Sequence[Chart]) -> list[Path]:
    """Write each chart as SVG, PDF and PNG."""
    return [file for chart in charts for file in export(chart, folder / "figures")]


def _markdown(head: str, below: str, written: Report) -> str:
    parts = [f"# {escape(head)}\n", f"{escape(below)}\n"]
    for served in written.served:
        parts.append(f"## Request {served.request}: {escape(served.asked.what)}\n")
        parts += [
            f"- {SIGNS[one.outcome]} **{escape(one.strategy)}** {escape(one.sentence)}"
            for one in served.answers
        ]
        parts += ["", f"*{escape(HOW)}*", "", markdown(served.table), markdown(served.measures)]
    parts += _sections([*written.picking, *written.rest])
    parts.append("## Glossary\n")
    parts += [f"- **{escape(term)}**: {escape(meaning)}" for term, meaning in written.glossary]
    return "\n".join(parts) + "\n"


def _sections(sections: Sequence[Section]) -> list[str]:
    parts = []
    for section in sections:
        parts.append(f"## {escape(section.title)}\n")
        parts += [f"{escape(section.text)}\n"] if section.text else []
        for chart in section.charts:
            parts.append(figure(chart.title, f"figures/report-{chart.name}.png"))
            parts += [markdown(chart.table)] if chart.table else []
        parts += [markdown(table) for table in section.tables]
    return parts
