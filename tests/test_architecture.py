"""docs/architecture.md: its picture is drawn from the code, and the files that it names exist."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
DRAWN = runpy.run_path(str(ROOT / "docs" / "draw_rooms.py"))


def test_the_picture_is_that_of_the_code():
    assert (ROOT / "docs" / "rooms.svg").read_text() == DRAWN["picture"](), (
        "The rooms have changed: python docs/draw_rooms.py draws them again."
    )


def test_every_room_is_on_the_floor_above_the_highest_that_it_imports_from():
    floors = DRAWN["floors"]({"a": set(), "b": {"a"}, "c": {"a", "b"}, "d": {"a"}})
    assert floors == [["a"], ["b", "d"], ["c"]]


def test_imports_are_found_by_room_and_ground_files_are_one(tmp_path):
    code = (
        "from fedunlearn import checks\nfrom fedunlearn.models import Vector\nimport strategies.x\n"
    )
    (tmp_path / "mine.py").write_text(code + "from fedunlearn import __version__\n")
    names = {"models", "data", "strategies"}
    found = DRAWN["imports"]([tmp_path / "mine.py"], names)
    assert found == {DRAWN["GROUND"], "models", "strategies"}


def named():
    paths = re.findall(r"`((?:fedunlearn|conf|simulations|strategies|tests|docs)/[\w./]+)`", PAGE)
    return sorted({path for path in paths if not path.endswith(("/x.py", "/x.yaml"))})


@pytest.mark.parametrize("path", named())
def test_what_the_page_names_is_there(path):
    assert (ROOT / path).exists()


def test_the_page_names_enough_and_its_links_lead_somewhere():
    assert len(named()) > 30
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / link).exists(), link
