"""What the source of a strategy tells of its needs is what it declares once it is built."""

import pytest
from omegaconf import OmegaConf

from fedunlearn.simulations import configured, declared_needs, settings

STRATEGIES = settings.known_groups()["strategy"]


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("changed", [{}, {"rounds": 7}, {"interval": 5}, {"mode": "special"}])
def test_needs_are_those_of_the_class(name, changed):
    part = OmegaConf.to_container(OmegaConf.load(STRATEGIES[name].file))
    if not changed.keys() <= part.keys():
        pytest.skip("it has no such field")
    usual = {one.path: one.value for one in reversed(settings.known_settings())}
    part = {
        key: usual[one[2:-1]] if isinstance(one, str) and one.startswith("${") else one
        for key, one in {**part, **changed}.items()
    }
    found = declared_needs.needs(part)
    if found is not None:
        assert found == configured.build("strategy", part).needs


def test_they_are_found_for_nearly_all():
    found = [
        declared_needs.needs(OmegaConf.to_container(OmegaConf.load(choice.file)))
        for choice in STRATEGIES.values()
    ]
    assert sum(one is not None for one in found) >= 0.9 * len(found)


def test_what_only_a_module_of_one_s_own_knows_is_left_to_it(tmp_path, monkeypatch):
    (tmp_path / "own_needs.py").write_text(
        "class Asking:\n    @property\n    def needs(self):\n        return Needs(**mine())\n"
        "class Silent:\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for target in ("own_needs.Asking", "own_needs.Silent", "nowhere.Thing", ""):
        assert declared_needs.needs({"_target_": target}) is None
