"""The site: every public name has its place and text, and every link leads somewhere."""

import inspect
import re
import runpy
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[1]
PAGES = runpy.run_path(str(ROOT / "docs" / "api_pages.py"))
FACES = PAGES["faces"]()


@pytest.mark.parametrize("face", FACES)
def test_every_public_name_of_a_face_is_documented(face):
    module, page = import_module(face), PAGES["page"](face)
    for name in PAGES["names"](face):
        value = getattr(module, name)
        home = PAGES["_home"](getattr(value, "__module__", ""), name)
        if home not in ("", face):
            assert f"   is `{home}.{name}`." in page
            assert name in PAGES["names"](home)
        elif inspect.isroutine(value) or getattr(value, "__name__", "") == name != "checks":
            assert re.search(rf"^\.\. auto(class|function):: {face}\.{name}$", page, re.MULTILINE)
            assert inspect.getdoc(value)
        else:
            assert re.search(rf"^\.\. py:data:: {name}\n\n   \S", page, re.MULTILINE), name


def test_every_page_is_linked_from_the_guides():
    index = (ROOT / "docs" / "index.md").read_text()
    linked = set(re.findall(r"\]\(([^)#]+)", index))
    pages = {path.name for path in (ROOT / "docs").glob("*") if path.suffix in (".md", ".ipynb")}
    pages |= {f"results/{path.name}" for path in (ROOT / "docs" / "results").glob("*.md")}
    assert pages - {"index.md"} <= linked
    assert all((ROOT / "docs" / link).is_file() for link in linked)


class Addresses(HTMLParser):
    """What a page leads to, what it loads, and where one can jump to in it."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loads, self.anchors = set(), set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.anchors.add(given.get("id"))
        if tag == "a" and given.get("href"):
            self.links.add(given["href"])
        self.loads |= {given[key] for key in ("src", "srcset", "data") if given.get(key)}
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload", "prefetch"):
            self.loads.add(given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if find_spec("sphinx") is None:
        pytest.skip("needs what `make docs` installs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    where = ["-c", "docs", ".", str(folder / "html"), "-d", str(folder / "read")]
    done = subprocess.run([*command, *where], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {path: Addresses(path.read_text()) for path in (folder / "html").rglob("*.html")}


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_every_link_in_it_leads_somewhere(site):
    assert len(site) > 60
    broken = set()
    for page, has in site.items():
        for link in has.links:
            address = urlsplit(link)
            if address.scheme:
                continue
            target = (page.parent / unquote(address.path)).resolve() if address.path else page
            jumps = target in site and address.fragment
            if not target.is_file() or (jumps and address.fragment not in site[target].anchors):
                broken.add((page.name, link))
    assert broken == set()


@pytest.mark.slow
def test_nothing_of_the_site_is_loaded_from_elsewhere(site):
    for page, has in site.items():
        for address in has.loads:
            assert not re.match(r"(\w+:)?//", address), (page.name, address)
            if not address.startswith("data:"):
                assert (page.parent / urlsplit(address).path).is_file(), (page.name, address)
    sheets = {path for page in site for path in page.parent.rglob("*.css")}
    for sheet in sheets:
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", sheet.read_text()), sheet
