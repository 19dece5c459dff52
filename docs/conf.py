"""How Sphinx makes the site: the pages as they lie in the checkout, the notebook, the docstrings.

`make docs` writes it to site/, which opens from disk: nothing in it is fetched from elsewhere.
"""

import re
import shutil
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

import api_pages  # noqa: E402
from docutils import nodes  # noqa: E402
from sphinx import addnodes  # noqa: E402

from fedunlearn import __version__  # noqa: E402

project = "fedunlearn"
author = "The fedunlearn authors"
release = version = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = ["README.md", "CONTRIBUTING.md", "docs/**"]
exclude_patterns = ["docs/example/**"]

myst_heading_anchors = 4
nb_execution_mode = "off"
suppress_warnings = ["ref.python"]  # of `bytes`, which is a field's name as well

default_role = "py:obj"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_default_options = {"members": True, "show-inheritance": False}
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
toc_object_entries = False

html_theme = "furo"
html_title = f"fedunlearn {__version__}"
html_copy_source = False
html_show_sphinx = html_show_copyright = False
html_theme_options = {"navigation_with_keys": True}


def setup(app: Any) -> None:
    """Write the pages of the API before anything is read; put a way in beside the pages."""
    app.connect("builder-inited", lambda app: api_pages.write(Path(app.srcdir) / "docs" / "api"))
    app.connect("autodoc-process-docstring", _stars_as_text)
    app.connect("doctree-read", _folders_as_text)
    app.connect("build-finished", _way_in)


def _stars_as_text(app: Any, what: str, name: str, of: Any, options: Any, lines: list[str]) -> None:
    """Keep the star of a shape such as [n, *shape], which begins no emphasis."""
    lines[:] = [re.sub(r"(\[[^]`]*)\*(\w+\])", r"\1\\*\2", line) for line in lines]


def _way_in(app: Any, error: Exception | None) -> None:
    """Let ``index.html`` lead to the first page; put what the report leads to beside it.

    The notebook's copy beside the site goes.
    """
    shutil.rmtree(Path(app.outdir).parent / "jupyter_execute", ignore_errors=True)
    if error is None and app.builder.name == "html":
        for report in Path(app.outdir).glob("_downloads/*/report.html"):
            shutil.copytree(ROOT / "docs" / "example", report.parent, dirs_exist_ok=True)
        (Path(app.outdir) / "index.html").write_text(
            f'<!doctype html><meta charset="utf-8"><title>{project}</title>'
            '<meta http-equiv="refresh" content="0; url=docs/index.html">'
            '<a href="docs/index.html">fedunlearn</a>\n'
        )


def _folders_as_text(app: Any, doctree: nodes.document) -> None:
    """Leave a link to a folder of the checkout its text; one to a file is a copy of the file."""
    here = Path(app.env.doc2path(app.env.docname)).parent
    for link in list(doctree.findall(addnodes.pending_xref)):
        if link.get("reftype") == "myst" and (here / link["reftarget"]).is_dir():
            link.replace_self(link.children)
