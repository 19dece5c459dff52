"""What a stream came to: who waited, what it cost, how good the models were."""

import io

import pandas as pd
import pytest
from rich.console import Console

from fedunlearn.results import (
    MINUS_SIGN,
    Asked,
    printed_stream,
    reference_name,
    request_rows,
    stream_requests,
    stream_table,
)
from fedunlearn.results.frames import accuracy_over_stream, backlog
from fedunlearn.results.plots import stream, time_to_forget

ASKED = [
    Asked(1, 4, "everything", 0.5, 2),
    Asked(1, 7, "everything", 1.25, 2),
    Asked(2, 1, "everything", 3.0, 3),
]


def summary_row(strategy, request, epochs, sent, rounds, gap):
    return {
        "seed": 0,
        "strategy": strategy,
        "request": request,
        "clients": "4+7" if request == 1 else "1",
        "probe": "",
        "test_accuracy": 0.9,
        "test_accuracy_gap": gap,
        "bytes_down": sent,
        "bytes_up": sent,
        "client_epochs": epochs,
        "samples": 1,
        "rounds": rounds,
        "seconds": 1.0,
        "store_bytes": 10,
    }


SUMMARY = pd.DataFrame(
    [
        summary_row("retrain", 1, 20, 100, 2, 0.0),
        summary_row("retrain", 2, 40, 300, 3, 0.0),
        summary_row("fast", 1, 3, 0, 1, -0.1),
        summary_row("fast", 2, 6, 0, 1, 0.02),
    ]
)
REQUESTS = pd.DataFrame(request_rows(SUMMARY.to_dict("records"), ASKED, 0))
ANSWERS = pd.DataFrame(
    {
        "request": [1, 2, 1, 2],
        "strategy": ["fast", "fast", "retrain again", "retrain again"],
        "answer": ["as retrained", "remembers", "as retrained", "as retrained"],
    }
)
METRICS = pd.DataFrame(
    [
        (0, "shared", 0, "train", 1, "test_accuracy", 0.1),
        (0, "shared", 0, "train", 2, "test_accuracy", 0.2),
        (0, "fast", 1, "unlearn", 0, "test_accuracy", 0.2),
        (0, "fast", 1, "unlearn", 1, "test_accuracy", 0.05),
        (0, "fast", 1, "unlearn", 1, "test_loss", 3.0),
        (0, "fast", 1, "train", 3, "test_accuracy", 0.3),
        (0, "fast", 2, "unlearn", 0, "test_accuracy", 0.3),
        (0, "fast", 2, "unlearn", 1, "test_accuracy", 0.25),
        (0, "fast", 2, "recover", 1, "test_accuracy", 0.28),
        (0, "fast", 2, "train", 4, "test_accuracy", 0.4),
    ],
    columns=["seed", "strategy", "request", "phase", "round", "metric", "value"],
)


def test_whoever_has_asked_and_is_not_served_waits():
    table = backlog(REQUESTS)
    assert list(zip(table["at"], table["waiting"], strict=True)) == [
        (0, 0),
        (0.5, 1),
        (1.25, 2),
        (2, 0),
        (3, 1),
        (3, 0),
    ]


def test_a_strategy_and_a_seed_more_change_nothing_of_who_waits():
    more = pd.concat([REQUESTS, REQUESTS.assign(seed=1)])
    pd.testing.assert_frame_equal(backlog(more), backlog(REQUESTS))


def test_nobody_waits_where_nobody_asks():
    assert backlog(REQUESTS[:0]).to_numpy().tolist() == [[0, 0]]


def test_accuracy_falls_where_a_request_is_served_and_training_goes_on_from_there():
    curve = accuracy_over_stream(METRICS)
    assert set(curve["strategy"]) == {"fast"}
    assert curve["round"].tolist() == [1, 2, 2, 3, 3, 4]
    assert curve["value"].tolist() == pytest.approx([10, 20, 5, 30, 28, 40])
    assert curve["step"].tolist() == [0, 1, 2, 3, 4, 5]


def test_two_requests_after_one_round_both_show():
    rows = METRICS[METRICS["phase"] != "train"]
    training = METRICS[(METRICS["phase"] == "train") & (METRICS["request"] == 0)]
    curve = accuracy_over_stream(pd.concat([training, rows]))
    assert curve["round"].tolist() == [1, 2, 2, 2]
    assert curve["value"].tolist() == pytest.approx([10, 20, 5, 28])


def test_seeds_are_averaged():
    other = METRICS.assign(seed=1, value=METRICS["value"] + 0.2)
    one, both = accuracy_over_stream(METRICS), accuracy_over_stream(pd.concat([METRICS, other]))
    assert both["value"].tolist() == pytest.approx((one["value"] + 10).tolist())


def test_costs_are_multiples_of_one_retraining():
    table = stream_table(SUMMARY, REQUESTS, ANSWERS).set_index("strategy")
    assert table.index.tolist() == ["retrain", "fast"]
    assert table["work"].tolist() == [2.0, 0.3]  # of 30 epochs
    assert table["bytes"].tolist() == [2.0, 0.0]
    assert table["requests"].tolist() == [2, 2]
    fast = table.loc["fast"]
    assert fast["accuracy_gap_mean"] == pytest.approx(-0.04)
    assert fast["accuracy_gap_worst"] == pytest.approx(-0.1)
    assert fast["as_retrained"] == 0.5
    assert (fast["worst"], fast["worst_requests"]) == ("remembers", 1)
    assert fast["forgetting_longest"] == 2.5
    assert fast["forgetting_mean"] == pytest.approx((2.5 + 1.75 + 1) / 3)


def test_further_references_of_a_seed_are_not_paid_for_twice():
    again = SUMMARY[SUMMARY["strategy"] == "retrain"].assign(strategy=reference_name(2))
    table = stream_table(pd.concat([SUMMARY, again], ignore_index=True), REQUESTS, ANSWERS)
    pd.testing.assert_frame_equal(table, stream_table(SUMMARY, REQUESTS, ANSWERS))


def test_the_table_says_all_of_it_on_a_terminal():
    console = Console(file=io.StringIO(), width=100)
    console.print(printed_stream(stream_table(SUMMARY, REQUESTS, ANSWERS)))
    text = console.file.getvalue()
    row = next(line for line in text.splitlines() if line.startswith("fast"))
    numbers = ["1.8", "2.5", "0.30x", "0", f"{MINUS_SIGN}4.0", f"{MINUS_SIGN}10.0", "50", "%"]
    assert row.split() == ["fast", *numbers, "remembers", "(1)"]


def test_figures_show_a_line_and_a_mean_for_each_strategy():
    above, below = stream(METRICS, REQUESTS).axes
    assert [line.get_label() for line in below.lines] == ["fast"]
    assert below.lines[0].get_ydata().tolist() == pytest.approx([10, 20, 5, 30, 28, 40])
    assert max(above.lines[0].get_ydata()) == 2
    [axes] = time_to_forget(REQUESTS).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["retrain", "fast"]
    means = [line.get_xdata()[0] for line in axes.lines[:2]]
    assert means == pytest.approx([(3.5 + 2.75 + 3) / 3, (2.5 + 1.75 + 1) / 3])


def written(folder, requests):
    folder.mkdir(exist_ok=True)
    requests.to_csv(folder / "requests.csv", index=False)
    return folder


@pytest.mark.parametrize(
    ("config", "requests", "streamed"),
    [
        ({"withdrawal": {"stream": {"busy": 0}}}, REQUESTS, True),
        ({"withdrawal": {"stream": {"busy": 0}}}, REQUESTS[REQUESTS["request"] == 1], False),
        ({"withdrawal": {"stream": None}}, REQUESTS, False),
        ({"withdrawal": {}}, REQUESTS, False),
        ({}, REQUESTS, False),
    ],
)
def test_a_stream_is_several_requests_of_one(config, requests, streamed, tmp_path):
    found = stream_requests(written(tmp_path, requests), {"config": config})
    assert (found is not None) == streamed
