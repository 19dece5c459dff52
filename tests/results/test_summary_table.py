import pandas as pd
import pytest
from rich.console import Console

from fedunlearn.results import amount, in_order, percent, printed_summary, summary_notes, who


def row(strategy, *, seed=0, request=1, clients="0", probe="took", epochs=0.0, **metrics):
    return {
        "seed": seed,
        "strategy": strategy,
        "request": request,
        "clients": clients,
        "probe": probe,
        **metrics,
        "bytes_down": 1_500_000,
        "bytes_up": 500_000,
        "client_epochs": epochs,
        "samples": 0,
        "rounds": 5,
        "seconds": 1.0,
        "store_bytes": 9_200_000,
    }


def pair(accuracy, retrained, seed=0, probe="took", epochs=100.0, **others):
    """A retrain row and a finetune row with these test accuracies."""
    return [
        row("finetune", test_accuracy=accuracy, test_accuracy_gap=accuracy - retrained, seed=seed,
            probe=probe, epochs=epochs, **others),
        row("retrain", test_accuracy=retrained, test_accuracy_gap=0.0, seed=seed, probe=probe,
            epochs=480.0, **others),
    ]  # fmt: skip


def attack(success, **others):
    return row("none", attack_success_rate=success, attack_success_rate_gap=success, **others)


def printed(rows, width=100):
    console = Console(width=width, force_terminal=False, color_system=None)
    with console.capture() as capture:
        console.print(printed_summary(pd.DataFrame(rows)))
    return capture.get().replace("\N{MINUS SIGN}", "-")


def line_of(name, text):
    return next(line for line in text.splitlines() if name in line)


def test_values_are_in_percent_with_the_gap_in_points():
    text = printed(pair(0.967, 0.976))
    assert "96.7 (-0.9)" in line_of("finetune", text)


def test_an_auc_is_a_number_and_a_gap_of_nothing_has_no_minus():
    rows = [
        row("retrain", membership_auc=0.51, membership_auc_gap=0.0),
        row("none", membership_auc=0.63, membership_auc_gap=0.12),
        row("finetune", membership_auc=0.51, membership_auc_gap=-1e-9),
    ]
    text = printed(rows)
    assert "0.63 (+0.12)" in line_of("none", text)
    assert "0.51 (+0.00)" in line_of("finetune", text)


def test_several_seeds_show_mean_and_sample_standard_deviation():
    accuracies = {0: 0.90, 1: 0.92, 2: 0.97}
    rows = [r for seed, value in accuracies.items() for r in pair(value, 0.95, seed=seed)]
    spread = pd.Series([90.0, 92.0, 97.0]).std(ddof=1)
    text = printed(rows)
    assert f"93.0 ±{spread:.1f}" in line_of("finetune", text)
    assert "(-2.0)" in text
    assert "deviation over 3" in text


def test_one_seed_shows_no_spread():
    text = printed(pair(0.9, 0.9))
    assert "±" not in text
    assert "one seed" in text


def test_retraining_comes_first_marked_and_without_a_gap_to_itself():
    lines = printed(pair(0.9, 0.95)).splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("──"))
    assert lines[start + 1].startswith("► retrain")
    assert "(" not in lines[start + 1]


def test_a_retrain_row_that_recovered_shows_how_far_it_went():
    rows = [row("retrain", test_accuracy=0.96, test_accuracy_gap=0.01)]
    assert "96.0 (+1.0)" in line_of("retrain", printed(rows))


def test_metrics_that_nobody_measured_have_no_column():
    text = printed(pair(0.9, 0.95))
    assert "accuracy" in text
    assert "Attack" not in text
    assert "Membership" not in text


def test_costs_alone_are_a_table():
    assert line_of("none", printed([row("none", epochs=480.0)])).split()[1:] == [
        "480",
        "2",
        "5",
        "9.2",
    ]


def test_costs_are_in_megabytes_and_zero_is_plain():
    cells = line_of("finetune", printed(pair(0.9, 0.9, epochs=0.0))).split()
    assert cells[-4:] == ["0", "2", "5", "9.2"]


def test_a_value_that_is_no_number_in_one_seed_is_shown_as_such():
    rows = [*pair(0.9, 0.9), *pair(float("nan"), 0.9, seed=1)]
    assert "nan" in line_of("finetune", printed(rows))


def test_a_probe_that_did_not_take_shows_no_attack_success():
    rows = [attack(0.3, probe="did not take")]
    text = printed(rows)
    assert "did not take" in line_of("none", text)
    assert "30.0" not in text
    assert any("did not take (seed 0)" in note for note in summary_notes(pd.DataFrame(rows)))


def test_a_probe_that_took_in_some_seeds_is_averaged_over_those():
    rows = [
        attack(0.2, seed=0, probe="did not take"),
        attack(0.8, seed=1),
        attack(0.9, seed=2),
    ]
    assert "85.0" in line_of("none", printed(rows))
    assert any("did not take (seed 0)" in note for note in summary_notes(pd.DataFrame(rows)))


def test_several_requests_stand_apart():
    rows = [*pair(0.9, 0.95), *pair(0.8, 0.85, request=2, clients="1+3")]
    text = printed(rows)
    assert "Client 0 left, then clients 1 and 3 left" in text
    before, after = text.split("Request 2")
    assert "90.0 (-5.0)" in before
    assert "80.0 (-5.0)" in after


def test_a_speed_up_is_a_ratio_of_client_epochs_where_both_spent_some():
    summary = pd.DataFrame([*pair(0.9, 0.9, epochs=110.0), row("none", epochs=0.0)])
    assert summary_notes(summary)[-1].endswith("client epochs: finetune 4.4 times.")
    assert "none" not in summary_notes(summary)[-1]
    nothing = pd.DataFrame(pair(0.9, 0.9, epochs=0.0))
    assert not any("Speed-up" in note for note in summary_notes(nothing))


def test_the_notes_say_that_zero_is_not_the_goal():
    assert "retrain row, not zero" in summary_notes(pd.DataFrame(pair(0.9, 0.9)))[0]


def test_without_requests_there_is_nothing_to_say():
    assert summary_notes(pd.DataFrame()) == []
    assert printed([]).strip() == ""


@pytest.mark.parametrize("seeds", [1, 3])
def test_six_strategies_fit_100_columns_and_lose_nothing_at_80(seeds):
    names = ["none", "finetune", "federaser", "fedaccum", "subtraction", "retrain"]
    metrics = {"test_accuracy": 1.0, "forget_accuracy": 1.0, "attack_success_rate": 1.0}
    values = {**metrics, "membership_auc": 0.63}
    far = {f"{name}_gap": -0.734 for name in values}
    rows = [
        row(name, seed=s, epochs=480.0, **values, **far) for name in names for s in range(seeds)
    ]
    for width, lines_each in ((100, seeds > 1), (80, True)):
        text = printed(rows, width)
        assert all(len(line) <= width for line in text.splitlines())
        assert "…" not in text
        assert all(name in text for name in names)
        assert text.count("(-73.4)") == 3 * len(names)
        assert ("100.0 (-73.4)" in text) != lines_each


def test_leavers_are_listed_and_counted_where_there_are_many():
    assert [who(text) for text in ("", "0", "0+3", "0+3+4")] == [
        "nobody",
        "client 0",
        "clients 0 and 3",
        "clients 0, 3 and 4",
    ]
    assert who("+".join(map(str, range(10)))) == "10 clients"


def test_strategies_keep_their_order_after_retraining():
    assert in_order(["none", "b", "retrain", "a", "none"]) == ["retrain", "none", "b", "a"]


def test_percent_is_for_accuracies_rates_and_agreements():
    shown = ["test_accuracy", "retained_accuracy_worst", "attack_success_rate", "test_agreement"]
    assert all(map(percent, shown))
    assert not any(map(percent, ["membership_auc", "test_loss", "weight_distance"]))


def test_a_small_cost_is_not_zero_and_a_great_one_has_no_decimals():
    shown = {0.0: "0", 0.01: "<0.1", 0.15: "0.1", 9.2: "9.2", 110.0: "110", 1234.5: "1,234"}
    assert {cost: amount(cost) for cost in shown} == shown


def banded(strategy_value=0.9, **others):
    """Three seeds with three references of attack success each, and a strategy."""
    rows = []
    for seed, offset in enumerate((0.0, 0.01, 0.02)):
        values = {"retrain": 0.01, "retrain-2": 0.02, "retrain-3": 0.06}
        named = {name: value + offset for name, value in values.items()} | {"none": strategy_value}
        references = [named[name] for name in values]
        for name, value in named.items():
            apart = [r for n, r in named.items() if n in values and n != name]
            mean = sum(apart if name in values else references) / (2 if name in values else 3)
            gap = {"attack_success_rate_gap": value - mean}
            epochs = 50.0 if name == "none" else 100.0
            rows.append(row(name, seed=seed, attack_success_rate=value, epochs=epochs, **gap))
    return rows


def test_all_references_are_in_the_row_of_retraining_and_the_floor_is_below_it():
    text = printed(banded())
    lines = text.splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith("► retrain"))
    values = pd.Series(
        [100 * r["attack_success_rate"] for r in banded() if r["strategy"] != "none"]
    )
    assert f"4.0 ±{values.std():.1f}" in lines[place]
    assert "(" not in lines[place] + lines[place + 1].replace("retrain again", "")
    again = next(n for n, line in enumerate(lines) if line.startswith("retrain again"))
    assert again in (place + 1, place + 2)
    assert "5.0 ±" in lines[again]
    # |1 - 4|, |2 - 3.5| and |6 - 1.5| points, on average
    assert "(±3.0)" in lines[again] + lines[again + 1]
    assert "100" not in lines[again]
    assert "retrain-2" not in text
    assert any("retrain again" in note for note in summary_notes(pd.DataFrame(banded())))
    assert not any("again" in note for note in summary_notes(pd.DataFrame(pair(0.9, 0.9))))
