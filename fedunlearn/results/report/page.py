"""The page: one HTML file that asks nobody for anything."""

from functools import cache
from importlib.resources import files as packaged
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from fedunlearn.results.report.charts.export import bundle, placed
from fedunlearn.results.report.prose import parts


def page(template: str, **content: Any) -> str:
    """Return the page that a template makes of ``content``; every text is escaped."""
    environment = Environment(
        loader=PackageLoader("fedunlearn.results.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":")}
    style = packaged("fedunlearn.results.report").joinpath("templates/style.css").read_text("utf-8")
    environment.filters |= {"placed": placed, "prose": prose}
    page_template = environment.get_template(template)
    return page_template.render(style=Markup(style), vega=Markup(_script()), **content)


def prose(text: str) -> Markup:
    """Return a text for the page: what stands between backticks as code, the rest escaped."""
    return Markup().join(
        Markup("<code>{}</code>").format(part) if code else escape(part)
        for part, code in parts(text)
    )


@cache
def _script() -> str:
    """Return the library, which may not end the element that it stands in."""
    return bundle().replace("</script", "<\\/script")
