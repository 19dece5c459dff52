"""What commands wrote into a run's folder: known again, and gone with the run."""

import pytest

from fedunlearn.checks import Refused
from fedunlearn.results import note_derived, read_derived, remove_derived


def written(folder, name, content="of ours"):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    return path


def test_only_what_is_as_we_wrote_it_goes(tmp_path):
    ours = [written(tmp_path, name) for name in ("costs.csv", "figures/cost.svg", "report.html")]
    note_derived(tmp_path, ours[:2])
    note_derived(tmp_path, ours[2:])
    theirs = [written(tmp_path, name) for name in ("notes.txt", "figures/own.png")]
    ours[0].write_text("edited")
    assert remove_derived(tmp_path) == [ours[0]]
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(
        [ours[0], *theirs]
    )


def test_an_empty_folder_goes_as_well(tmp_path):
    note_derived(tmp_path, [written(tmp_path, "figures/cost.svg")])
    assert remove_derived(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", ["edited", "deleted", "unlisted"])
def test_what_is_read_is_what_was_written(tmp_path, change):
    path = written(tmp_path, "attacks.csv")
    note_derived(tmp_path, [path])
    assert read_derived(tmp_path, "attacks.csv") == b"of ours"
    if change == "edited":
        path.write_text("other")
    elif change == "deleted":
        path.unlink()
    else:
        (tmp_path / "derived.json").write_text("{}")
    with pytest.raises(Refused):
        read_derived(tmp_path, "attacks.csv")


@pytest.mark.parametrize("text", ["", "[]", '{"../x": "0"}', '{"x": 1}', "[" * 100_000])
def test_a_list_that_is_none_is_named(tmp_path, text):
    (tmp_path / "derived.json").write_text(text)
    with pytest.raises(Refused, match=r"derived\.json"):
        remove_derived(tmp_path)
