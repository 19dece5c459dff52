"""From asking to being forgotten in modelled seconds, as a hand computes them."""

import io

import pandas as pd
import pytest
from rich.console import Console

from fedunlearn.results import SECONDS, Asked, printed_stream, request_rows, stream_table
from fedunlearn.results.costing import (
    Constant,
    Devices,
    Kind,
    Lognormal,
    modelled_devices,
    with_seconds,
)
from fedunlearn.results.plots import time_to_forget
from fedunlearn.simulations.cost import chosen
from tests.support.charges import charges

DEVICES = Devices({"all": Kind()}, pace=1.0, draws=2)
"""One record a second."""

LEDGER = pd.concat(
    [
        charges(("train", 1, 0, 1, 1, 10), ("train", 2, 0, 1, 1, 20), strategy="shared", request=0),
        charges(("unlearn", 1, 0, 1, 1, 5), ("recover", 1, 0, 1, 1, 1), strategy="fast"),
        charges(("train", 3, 0, 1, 1, 30), strategy="fast"),
        charges(("unlearn", 1, 0, 1, 1, 2), strategy="fast", request=2),
        charges(("train", 4, 0, 1, 1, 40), strategy="fast", request=2),
        charges(("unlearn", 1, 0, 1, 1, 7), strategy="retrain"),
    ],
    ignore_index=True,
)
SUMMARY = pd.DataFrame(
    {
        "seed": 0,
        "strategy": ["retrain", "retrain", "fast", "fast"],
        "request": [1, 2, 1, 2],
        "rounds": [1, 0, 2, 1],
        "client_epochs": 1.0,
        "bytes_down": 1,
        "bytes_up": 1,
    }
)
ANSWERS = pd.DataFrame({"request": [1, 2], "strategy": "fast", "answer": "as retrained"})


def asked(second):
    """Requests of whom the third is served after round ``second``."""
    people = [
        Asked(1, 4, "everything", 0.5, 2),
        Asked(1, 7, "everything", 1.25, 2),
        Asked(2, 1, "everything", float(second), second),
    ]
    return pd.DataFrame(request_rows(SUMMARY.to_dict("records"), people, 1))


def seconds(requests, devices=DEVICES, ledger=LEDGER):
    found = with_seconds(requests, ledger, devices)
    return found.loc[found["strategy"] == "fast", SECONDS].tolist()


def test_waiting_counts_parts_of_rounds_and_serving_counts_whole():
    """The clock of training is at 5 s, 15 s and 30 s; request 1 takes 6 s, request 2 takes 2 s."""
    assert seconds(asked(3)) == pytest.approx([25 + 6, 15 + 6, 2])


def test_who_is_served_after_the_same_round_waits_for_those_before_it():
    assert seconds(asked(2)) == pytest.approx([31, 21, 6 + 2])


def test_each_strategy_has_its_own_rounds_after_the_first_request():
    other = LEDGER.assign(strategy=LEDGER["strategy"].replace("fast", "other"))
    slower = other[other["strategy"] == "other"]
    slower = slower.assign(samples=slower["samples"] * 10)
    assert seconds(asked(3), ledger=pd.concat([LEDGER, slower])) == seconds(asked(3))


def test_seeds_are_apart():
    double = LEDGER.assign(seed=1, samples=LEDGER["samples"] * 2)
    both = pd.concat([asked(3), asked(3).assign(seed=1)], ignore_index=True)
    found = with_seconds(both, pd.concat([LEDGER, double]), DEVICES)
    once, twice = (found.loc[found["seed"] == seed, SECONDS] for seed in (0, 1))
    assert twice.tolist() == pytest.approx((2 * once).tolist())


def test_devices_that_take_half_as_long_halve_all_times():
    fast = Devices({"all": Kind(speed=Constant(2.0))}, pace=1.0, draws=1)
    assert seconds(asked(3), fast) == pytest.approx([s / 2 for s in seconds(asked(3))])


def test_without_devices_there_is_no_column():
    assert with_seconds(asked(3), LEDGER, None).equals(asked(3))


def test_devices_are_those_of_the_configuration():
    phones = {
        "_target_": "fedunlearn.results.costing.Devices",
        "kinds": {
            "phone": {
                "_target_": "fedunlearn.results.costing.Kind",
                "upload": {
                    "_target_": "fedunlearn.results.costing.Lognormal",
                    "median": 8e6,
                    "sigma": 0.8,
                },
            }
        },
        "draws": 3,
    }
    found = modelled_devices({"config": {"devices": phones}})
    assert found == Devices({"phone": Kind(upload=Lognormal(8e6, 0.8))}, draws=3)
    nothing = {"_target_": "fedunlearn.results.costing.Devices", "kinds": {"simulated": {}}}
    nothing["kinds"] = {"simulated": {"_target_": "fedunlearn.results.costing.Kind"}}
    own = {**phones, "kinds": {"phone": {"_target_": "os.system", "command": "false"}}}
    wrong = {**phones, "draws": 0}
    for config in ({"devices": nothing}, {"devices": own}, {"devices": wrong}, {}, None):
        assert modelled_devices({"config": config}) is None


def test_presets_of_devices_are_read_as_they_are_built():
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    from fedunlearn.simulations.guard import CONF, composed

    for name, plain in (("phones", False), ("silos", False), ("none", True)):
        with initialize_config_dir(CONF, version_base="1.3"):
            part = OmegaConf.to_container(composed([f"devices={name}"]).devices, resolve=True)
        found = modelled_devices({"config": {"devices": part}})
        assert found == (None if plain else chosen([f"devices={name}"]))


def test_the_table_and_the_figure_show_both():
    requests = with_seconds(asked(3), LEDGER, DEVICES)
    table = stream_table(SUMMARY.assign(test_accuracy_gap=0.0), requests, ANSWERS)
    fast = table.set_index("strategy").loc["fast"]
    assert fast["seconds_mean"] == pytest.approx((31 + 21 + 2) / 3)
    assert fast["seconds_longest"] == pytest.approx(31)
    console = Console(file=io.StringIO(), width=130)
    console.print(printed_stream(table))
    row = next(n for n in console.file.getvalue().splitlines() if n.startswith("fast"))
    assert " ".join(row.split()).startswith("fast 2.2 3.5 18.0 s 31.0 s") or "31 s" in row
    rounds, modelled = time_to_forget(requests).axes
    means = [line.get_xdata()[0] for line in modelled.lines]
    assert means[1] == pytest.approx((31 + 21 + 2) / 3)
    assert "(s)" in modelled.get_xlabel()
    assert len(rounds.lines) == 3
