"""The columns of a run's files, and their types."""

MOMENT = {"seed": "int64", "strategy": "str", "request": "int64", "phase": "str", "round": "int64"}
"""Where a row belongs. Training before the first request has request 0 and strategy ``shared``;
round 0 of phase ``unlearn`` is the model before it, all other rounds count from 1."""

METRIC_COLUMNS = {**MOMENT, "metric": "str", "value": "float64"}
"""Columns of metrics.csv, and their types."""

LEDGER_COLUMNS = {
    **MOMENT,
    "client": "int64",
    "bytes_down": "int64",
    "bytes_up": "int64",
    "samples": "int64",
    "seconds": "float64",
}
"""Columns of ledger.csv; client -1 is the server itself."""

CLIENT_COLUMNS = {
    "seed": "int64",
    "client": "int64",
    "label": "str",
    "train": "int64",
    "heldout": "int64",
}
"""Columns of clients.csv: records of each label that a client trains on and holds out."""

CASE_COLUMNS = {
    "seed": "int64",
    "strategy": "str",
    "request": "int64",
    "clients": "str",
    "probe": "str",
}
"""The first columns of summary.csv; ``clients`` are those who ask, joined by ``+``, and ``probe``
says ``took``, ``did not take``, or nothing where no backdoor was planted."""

COST_COLUMNS = {
    "bytes_down": "int64",
    "bytes_up": "int64",
    "client_epochs": "float64",
    "samples": "int64",
    "rounds": "int64",
    "seconds": "float64",
    "store_bytes": "int64",
}
"""Further columns of summary.csv: what unlearning and recovery cost."""

SCOPE_COLUMNS = {"scope": "str"}
"""The last columns of summary.csv: of which of their records the ``clients`` ask, such as
``everything`` or ``labels=7``."""

VERDICT_COLUMNS = {
    "request": "int64",
    "strategy": "str",
    "metric": "str",
    "value": "float64",
    "reference": "float64",
    "low": "float64",
    "high": "float64",
    "gap": "float64",
    "gap_low": "float64",
    "gap_high": "float64",
    "p_value": "float64",
    "verdict": "str",
}
"""Columns of verdicts.csv, and their types: numbers are empty where there is nothing to tell."""

ANSWER_COLUMNS = {
    "request": "int64",
    "strategy": "str",
    "answer": "str",
    "p_value": "float64",
    "apart": "str",
    "to_forget": "str",
    "accuracy_gap": "float64",
    "work": "float64",
    "bytes": "float64",
    "reason": "str",
}
"""Columns of answers.csv: one word a strategy, the p-value of its being retrained, the measures
that tell it apart (joined by ``+``), whether there was anything to forget (``yes``, ``no``,
``unknown``, or nothing where that was not measured), the test accuracy gained next to retraining,
client epochs and bytes as multiples of retraining's, and a sentence."""

REQUEST_COLUMNS = {
    "seed": "int64",
    "strategy": "str",
    "request": "int64",
    "client": "int64",
    "scope": "str",
    "arrived": "float64",
    "served": "int64",
    "waited": "float64",
    "queued": "int64",
    "unlearning_rounds": "int64",
    "recovery_rounds": "int64",
    "rounds_to_forget": "float64",
    "begun": "int64",
    "finished": "int64",
    "verified": "str",
    "decision": "str",
    "released": "float64",
    "notes": "str",
    "missed": "str",
}
"""Columns of requests.csv: each client's own request as one strategy served it, all times in
training rounds. It ``arrived`` at a point of training (2.5: half-way through round 3), was
``served`` after a training round and ``waited`` so long; ``queued`` are the rounds of earlier
requests that were served after the same training round. ``rounds_to_forget`` is the sum of the
four columns before it: a round of unlearning or recovery takes as long as one of training.
Unlearning was ``begun`` and with recovery ``finished`` at a round, counted so; ``verified`` is
what the certificate concludes (``yes``, ``no``, or nothing where it judges nothing),
``decision`` what `Thresholds.approval` makes of that (``approved`` or ``rejected``), and the model
of one approved was ``released`` when it was finished. ``notes`` are the numbers that the strategy
had noted by then, such as ``accuracy=0.93 retrained=12``, and ``missed`` the targets and utilities
of `Thresholds` that its model missed."""

GAP_SUFFIX = "_gap"
"""Ends the name of a metric's difference from the retrained models of its seed, on average."""
