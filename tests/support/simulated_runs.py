"""Runs with made-up but realistic numbers, as files."""

import itertools

import numpy as np
import pandas as pd
from matplotlib.text import Text

from fedunlearn.experiment.run_folder import RunFolder
from fedunlearn.results import answers, gaps, judge, load_clients
from fedunlearn.unlearning import Moment

NAMES = ("test_accuracy", "forget_accuracy", "attack_success_rate", "membership_auc")
BEFORE = np.array([0.971, 1.0, 0.997, 0.631])
START = np.array([0.10, 0.08, 0.0, 0.5])
# Final metrics, rounds, client epochs, models sent, megabytes stored: as FedAvg on digits has them.
ENDS = {
    "retrain": ((0.978, 0.283, 0.002, 0.512), 24, 480, 192, 0),
    "none": ((0.971, 1.0, 0.997, 0.631), 1, 0, 0, 0),
    "finetune": ((0.974, 0.98, 0.958, 0.620), 5, 100, 40, 0),
    "federaser": ((0.967, 0.276, 0.005, 0.508), 12, 110, 88, 9.2),
    "fedaccum": ((0.247, 0.04, 0.0, 0.500), 1, 0, 0, 18.4),
    "subtraction": ((0.258, 0.04, 0.0, 0.490), 1, 0, 0, 18.4),
    "federaser_all": ((0.978, 0.283, 0.002, 0.510), 24, 230, 184, 18.4),
}


def simulated(
    path, strategies=tuple(ENDS), seeds=(0,), leavers=("0",), clients=5, recovery=0, probe="took"
):
    """Write a run as a simulation would, with made-up but realistic numbers."""
    with RunFolder(path) as folder:
        folder.manifest({"status": "finished"})
        summary = []
        for seed in seeds:
            rng = np.random.default_rng(seed)
            counts = rng.multinomial(60, rng.dirichlet(np.full(10, 0.5), clients))
            folder.clients(seed, [str(label) for label in range(10)], counts, counts // 5)
            for number in range(1, 13):
                values = BEFORE + (START - BEFORE) * np.exp(-number / 3)
                write(folder, seed, "shared", Moment("train", 0, number), values, probe)
            retrained = {}
            for strategy, request in itertools.product(strategies, range(1, len(leavers) + 1)):
                final = serve(folder, seed, strategy, request, recovery, probe, rng)
                retrained.setdefault(request, final)
                row = summary_row(seed, strategy, request, leavers[request - 1], probe)
                gap = gaps(final, retrained[request])
                summary.append({**row[0], **final, **gap, **row[1]})
        folder.summary(summary)
        table = pd.DataFrame(summary)
        folder.verdicts(judge(table).to_dict("records"))
        folder.answers(answers(table, load_clients(path)).to_dict("records"))
    return path


def write(folder, seed, strategy, moment, values, probe):
    kept = {
        name: float(value)
        for name, value in zip(NAMES, values, strict=True)
        if probe or name != "attack_success_rate"
    }
    folder.metrics(seed, strategy, moment, kept)
    return kept


def serve(folder, seed, strategy, request, recovery, probe, rng):
    """Write one branch and return its final metrics."""
    end, rounds, *_ = ENDS[strategy]
    before = START if strategy in ("retrain", "federaser", "federaser_all") else BEFORE
    write(folder, seed, strategy, Moment("unlearn", request, 0), BEFORE, probe)
    for number in range(1, rounds + 1):
        values = np.array(end) + (before - end) * (1 - number / rounds) ** 2
        values = np.clip(values + rng.normal(0, 0.003, 4), 0, 1)
        final = write(folder, seed, strategy, Moment("unlearn", request, number), values, probe)
    for number in range(1, recovery + 1):
        values = values + 0.3 * (0.976 - values) * [1, 0.1, 0.1, 0]
        final = write(folder, seed, strategy, Moment("recover", request, number), values, probe)
    return final


def summary_row(seed, strategy, request, clients, probe, scope="everything"):
    _, rounds, epochs, models, stored = ENDS[strategy]
    first = {"seed": seed, "strategy": strategy, "request": request}
    return {**first, "clients": clients, "probe": probe}, {
        "bytes_down": models * 76_564,
        "bytes_up": models * 76_564,
        "client_epochs": float(epochs),
        "samples": 0,
        "rounds": rounds,
        "seconds": 1.0,
        "store_bytes": int(stored * 1e6) + 153_128,
        "scope": scope,
    }


def texts(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_text().strip()]
