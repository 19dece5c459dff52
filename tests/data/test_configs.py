import dataclasses
from importlib import import_module
from pathlib import Path

import pytest
import yaml

import conf

FILES = sorted(
    file
    for group in ("dataset", "partition", "planting")
    for file in (Path(conf.__file__).parent / group).glob("*.yaml")
)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_file_lists_every_field_with_its_default(file):
    settings = yaml.safe_load(file.read_text())
    module, name = settings.pop("_target_").rsplit(".", 1)
    kind = getattr(import_module(module), name)
    fields = {field.name: field.default for field in dataclasses.fields(kind)}
    assert list(settings) == list(fields)
    made = kind(**settings)
    assert hash(made) == hash(kind(**settings))
    required = {name for name, default in fields.items() if default is dataclasses.MISSING}
    assert made == kind(**{name: settings[name] for name in required})


def test_archives_go_by_the_name_of_their_file():
    names = [yaml.safe_load(file.read_text()).get("name", file.stem) for file in FILES]
    assert names == [file.stem for file in FILES]
