"""The worked example of CONTRIBUTING.md is run as it stands there."""

import re
import sys
import types
from pathlib import Path

import pytest
import torch
import yaml

from fedunlearn.unlearning import Request
from simulations import configured
from tests.support.world import World, without_leavers

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()


@pytest.fixture
def restart(monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    (config,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    module = types.ModuleType("strategies.restart")
    monkeypatch.setitem(sys.modules, "strategies.restart", module)
    exec(code, module.__dict__)
    return configured.build("strategy", yaml.safe_load(config))


def test_the_example_is_retraining_cut_short(restart):
    world = World()
    with world.open() as clients:
        course = world.trained(clients)
        history = course.history.select(restart.needs, course.round)
        remaining = without_leavers(clients, [1], restart.needs)
        request = Request(frozenset({1}), course.round)
        models = list(restart.unlearn(request, history, remaining))
    assert len(models) == restart.length(request) == 5
    torch.testing.assert_close(models[-1], world.formula([0, 2, 3], 5))
