"""What a stream of requests came to, as a table."""

import pandas as pd

from fedunlearn.results import RETRAIN, Run, span, stream_requests, stream_table, worst_answer
from fedunlearn.results.costing import modelled_devices, with_seconds
from fedunlearn.results.report.cells import NO_NUMBER, Cell, Table, number

HEADINGS = (
    "Strategy",
    "Rounds to forget, mean",
    "Longest",
    "Work of the stream",
    "Bytes of the stream",
    "Accuracy, mean",
    "Worst request",
    "As retrained",
    "Worst answer",
)

TIMES = {"seconds_mean": "Time to forget, mean", "seconds_longest": "Longest time"}
"""Further headings, where the run's configuration describes devices."""


def streamed(run: Run, answers: pd.DataFrame) -> list[Table]:
    """Return one row a strategy over all requests; no table of a run without a stream."""
    requests = stream_requests(run.folder, run.manifest)
    if requests is None:
        return []
    timed = with_seconds(requests, run.ledger, modelled_devices(run.manifest))
    table = stream_table(run.summary, timed, answers)
    modelled = "seconds_mean" in table
    rows = []
    for row in table.to_dict("records"):
        retrained = row["strategy"] == RETRAIN
        gaps = (100 * row["accuracy_gap_mean"], 100 * row["accuracy_gap_worst"])
        rows.append(
            (
                Cell(str(row["strategy"])),
                Cell(number(row["forgetting_mean"], 1)),
                Cell(number(row["forgetting_longest"], 1)),
                *(Cell(span(row[name])) for name in TIMES if modelled),
                Cell(number(row["work"], 2)),
                Cell(number(row["bytes"], 2)),
                *(Cell(NO_NUMBER if retrained else number(gap, 1)) for gap in gaps),
                Cell(NO_NUMBER if retrained else f"{100 * row['as_retrained']:.0f} %"),
                Cell(worst_answer(row["worst"], row["worst_requests"]) or NO_NUMBER),
            )
        )
    notes = (
        "Rounds to forget count from asking; a round of unlearning or recovery counts as one of "
        "training. Work and bytes are multiples of one retraining's on average; accuracy is in "
        "points on test records, next to retraining.",
        *(["Times are modelled for the configured devices, from asking on."] if modelled else []),
    )
    caption = f"A stream of {int(table['requests'].max())} requests"
    headings = (*HEADINGS[:3], *(TIMES.values() if modelled else ()), *HEADINGS[3:])
    return [Table("stream", caption, headings, tuple(rows), notes)]
