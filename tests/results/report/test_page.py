import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from fedunlearn.checks import Refused
from fedunlearn.results.costing import Devices
from fedunlearn.results.report import Capability, Declared, write, writing
from fedunlearn.results.report import page as pages
from tests.support import simulated_runs as runs
from tests.support.simulated_runs import simulated

NASTY = "</script><b>&_%"


class Page(HTMLParser):
    """Collects ids, headings, specifications and addresses."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.tags, self.addresses, self.texts = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        self.ids += [found["id"]] if "id" in found else []
        self.addresses += [found[key] for key in ("src", "href") if key in found]

    def handle_data(self, text):
        self.texts.append(text)


@pytest.fixture(scope="module")
def quick(monkeypatch_module):
    """Leave the library and the figures out: they take seconds and stay the same."""
    monkeypatch_module.setattr(pages, "_script", lambda: "")
    monkeypatch_module.setattr(writing, "figures", lambda folder, charts: [])


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def written(quick, two_requests):
    declared = Declared(
        [Capability("federaser", "replay | lengths", "updates", "those who remain", "none")],
        devices={"equals": Devices()},
    )
    return write(two_requests, declared)


def test_the_page_comes_first_and_all_files_lie_in_the_folder(written, two_requests):
    names = [path.relative_to(two_requests).as_posix() for path in written]
    assert names[:2] == ["report.html", "report.md"]
    assert "tables/standings-1.tex" in names
    assert names[-1] == "tables/all.tex"
    assert all(path.is_file() for path in written)
    printed = re.findall(r"\\input\{(.*?)\}", written[-1].read_text())
    assert [f"tables/{name}.tex" for name in printed] == names[2:-1]


def test_the_page_answers_first_and_has_every_section_in_order(written):
    page = Page(written[0].read_text())
    sections = [name.removeprefix("section-") for name in page.ids if name.startswith("section-")]
    assert sections == [
        *("rounds", "tradeoffs", "harm", "layers", "attacks", "reductions", "store", "time"),
        *("timeline", "labels", "strategies", "settings"),
    ]
    assert page.ids.index("answer") < page.ids.index("section-rounds")
    assert len(page.ids) == len(set(page.ids))
    assert page.tags.count("h1") == 1
    text = " ".join(page.texts)
    assert "cannot tell anything from chance" in text
    assert "Client 0 left, then clients 1 and 2 left: what six strategies forgot" in text
    assert "did not measure the accuracy of each client" in text


def test_nothing_on_the_page_is_fetched(written):
    text = written[0].read_text()
    page = Page(text)
    assert [a for a in page.addresses if "//" in a] == []
    assert "default-src 'none'" in text


def test_a_specification_for_each_chart_with_inputs_that_are_on_the_page(written):
    text = written[0].read_text()
    page = Page(text)
    specs = re.findall(r'<script type="application/json" id="spec-(.*?)">(.*?)</script>', text)
    assert [name for name, _ in specs] == [
        *("forgetting", "tradeoff-utility", "tradeoff-epochs", "tradeoff-sent"),
        *("layers", "attacked", "store", "timeline", "label-map"),
    ]
    for name, content in specs:
        assert name in page.ids
        spec = json.loads(content)
        binds = [
            p["bind"] for p in [*spec.get("params", []), *spec.get("signals", [])] if "bind" in p
        ]
        assert {bind["element"].removeprefix("#") for bind in binds} <= set(page.ids)
        if name in ("forgetting", "tradeoff-utility"):
            assert len(binds) == 7 + 3


def test_markdown_and_latex_tell_the_same(written, two_requests):
    text = written[1].read_text()
    latex = (two_requests / "tables" / "standings-1.tex").read_text()
    assert "**federaser** may or may not have forgotten client 0" in text
    assert "replay \\| lengths" in text
    row = next(line for line in text.splitlines() if line.startswith("| federaser |"))
    numbers = re.findall(r"\d+\.\d", row)
    mine = next(line for line in latex.splitlines() if line.strip().startswith("federaser &"))
    assert re.findall(r"\d+\.\d", mine) == numbers
    assert len(numbers) > 8


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_prints_all_tables(written, two_requests, tmp_path):
    command = ["pdflatex", "-interaction=nonstopmode", f"-output-directory={tmp_path}", "all"]
    done = subprocess.run(
        command, cwd=two_requests / "tables", capture_output=True, encoding="latin-1", timeout=300
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Float too large" not in done.stdout
    assert (tmp_path / "all.pdf").stat().st_size > 10_000


@pytest.mark.slow
def test_names_are_escaped_on_the_page_in_markdown_and_in_latex(quick, tmp_path):
    runs.ENDS[NASTY] = runs.ENDS["federaser"]
    try:
        write(simulated(tmp_path, ("retrain", NASTY)))
    finally:
        del runs.ENDS[NASTY]
    text = (tmp_path / "report.html").read_text()
    assert NASTY not in text
    assert "&lt;/script&gt;&lt;b&gt;&amp;_%" in text
    assert text.count("<script") == text.count("</script>")
    assert r"\</script\>\<b\>&amp;\_%" in (tmp_path / "report.md").read_text()
    latex = (tmp_path / "tables" / "standings-1.tex").read_text()
    assert r"\textless{}/script\textgreater{}\textless{}b\textgreater{}\&\_\%" in latex


@pytest.mark.slow
def test_one_seed_one_strategy_and_no_probe_make_a_report(quick, tmp_path):
    page, *_ = write(simulated(tmp_path, ("retrain", "federaser"), probe=""))
    text = page.read_text()
    assert "one seed" in text
    assert "Attack success" not in text


def test_a_multirun_has_an_index_with_links_and_a_section_a_setting(quick, sweeping):
    page = Page(write(sweeping)[0].read_text())
    sections = [name for name in page.ids if name.startswith("section-")]
    assert sections == ["section-front", "section-sweep-0", "section-sweep-1"]
    assert {f"{number}/" for number in range(6)} <= set(page.addresses)
    assert "What strategy.interval does" in " ".join(page.texts)


def test_a_run_without_requests_is_refused(quick, tmp_path):
    simulated(tmp_path, ())
    with pytest.raises(Refused, match="has served no request yet"):
        write(tmp_path)


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(Refused, match="holds no run"):
        write(tmp_path)


def test_a_table_of_attacks_that_is_none_is_refused_by_name(quick, tmp_path):
    simulated(tmp_path)
    (tmp_path / "attacks.csv").write_text("seed,strategy\n0,none\n")
    with pytest.raises(Refused, match=r"attacks.csv is no table of attacks.*fedunlearn attack"):
        write(tmp_path)


def test_a_certificate_that_is_none_is_refused_by_name(quick, tmp_path):
    simulated(tmp_path, ("retrain", "federaser"))
    (tmp_path / "certificates").mkdir()
    (tmp_path / "certificates" / "seed0-x-request1.json").write_text("{}")
    with pytest.raises(
        Refused, match=r"seed0-x-request1\.json is not a certificate as it was issued"
    ):
        write(tmp_path)
