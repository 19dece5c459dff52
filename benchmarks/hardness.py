"""What makes a client hard to forget: distance to retraining against memorization, entanglement.

It reads the runs of a sweep over who leaves, such as

    fedunlearn compare -m … 'withdrawal.clients=[0],[1],[2]' hydra.sweep.dir=outputs/hardness
    python -m benchmarks.hardness outputs/hardness --figure hardness.png
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from benchmarks import report
from fedunlearn import results
from fedunlearn.data import build_federation
from fedunlearn.experiment import saved_model
from fedunlearn.local import FeatureMoments
from fedunlearn.methods import Moments, class_entanglement_score, entanglement_score
from fedunlearn.results import SHARED_TRAINING, Case
from fedunlearn.simulations import configured

CAUSES = {"memorization": "memorization", "class_entanglement": "entanglement by class"}
"""What may make forgetting hard, as columns, and as people read them."""
DRAWS = 1000
"""Bootstrap samples of seeds for an interval."""
GROUPS = 5
"""Leavers are drawn in so many groups of equal size, by each cause."""


def main() -> None:
    """Read the runs, print a table of rank correlations, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="what the sweep wrote")
    parser.add_argument("--out", type=Path, metavar="FILE.csv", help="write a row a leaver")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw into a .png or .svg")
    chosen = parser.parse_args()
    folders = sorted(path.parent for path in chosen.folder.glob("*/manifest.json"))
    every = pd.concat([_of_run(folder) for folder in folders], ignore_index=True)
    if chosen.out is not None:
        report.write_csv(chosen.out, list(every), every.itertuples(index=False))
    leavers = every.drop_duplicates(["seed", "client"])
    print(f"{len(leavers)} leavers; memorization {_spread(leavers['memorization'])}.")
    print(report.table(["strategy", "1 - ToW", *CAUSES.values()], list(_rows(every))))
    if chosen.figure is not None:
        draw(every, chosen.figure)


def _of_run(folder: Path) -> pd.DataFrame:
    """Return a row for each seed and strategy of one run, in which one client left."""
    run = results.load(folder)
    summary = run.summary.set_index(["seed", "strategy"])
    metrics = run.metrics
    begun = metrics[(metrics["metric"] == "forget_accuracy") & (metrics["strategy"] == "none")]
    begun = begun[(begun["phase"] == "unlearn") & (begun["round"] == 0)].set_index("seed")["value"]
    causes = {seed: _entangled(run, int(seed)) for seed in begun.index}
    rows = []
    for (seed, strategy), row in summary.iterrows():
        if results.is_reference(str(strategy)):
            continue
        gaps = [abs(row[f"{name}_accuracy_gap"]) for name in ("forget", "retained", "test")]
        retrained = row["forget_accuracy"] - row["forget_accuracy_gap"]
        rows.append(
            {
                "seed": seed,
                "client": int(row["clients"]),
                "strategy": strategy,
                "memorization": begun[seed] - retrained,
                **causes[seed],
                "distance": 1 - float(np.prod([1 - gap for gap in gaps])),
                "forget_gap": row["forget_accuracy_gap"],
            }
        )
    return pd.DataFrame(rows)


def _entangled(run: results.Run, seed: int) -> dict[str, float]:
    """Return how entangled the leaver is with all others, in the model before the request."""
    scenario = configured.rebuilt(run).scenario(seed)
    federation = build_federation(scenario)
    network, shards = federation.network, federation.train
    original = saved_model(run.folder, network.layout, Case(seed, SHARED_TRAINING, 0))
    sums = FeatureMoments().sums(network, original, shards, range(len(shards)))
    each = [
        Moments.read({name: total[client] for name, total in sums.items()})
        for client in range(len(shards))
    ]
    (leaver,) = set(map(int, run.summary["clients"]))
    rest = Moments.total(each[:leaver] + each[leaver + 1 :])
    return {
        "entanglement": entanglement_score(each[leaver], rest),
        "class_entanglement": class_entanglement_score(each[leaver], rest),
    }


def _rows(every: pd.DataFrame) -> Iterator[Sequence[str]]:
    for strategy, own in every.groupby("strategy", sort=False):
        cells = [_correlation(own, cause) for cause in CAUSES]
        yield str(strategy), _spread(own["distance"]), *cells


def _correlation(own: pd.DataFrame, cause: str) -> str:
    """Return Spearman's correlation with the distance, and its 95 % interval over seeds."""
    seeds = own["seed"].unique()
    by_seed = {seed: part[[cause, "distance"]].to_numpy() for seed, part in own.groupby("seed")}
    rng, found = np.random.default_rng(0), []
    for _ in range(DRAWS):
        drawn = np.concatenate([by_seed[seed] for seed in rng.choice(seeds, len(seeds))])
        found.append(spearmanr(drawn[:, 0], drawn[:, 1], nan_policy="omit").statistic)
    low, high = np.nanquantile(found, [0.025, 0.975])
    whole = spearmanr(own[cause], own["distance"], nan_policy="omit").statistic
    return f"{whole:+.2f} ({low:+.2f} to {high:+.2f})"


def _spread(values: pd.Series) -> str:
    return f"{values.mean():.3f} ± {values.std():.3f}"


def draw(every: pd.DataFrame, path: Path) -> None:
    """Draw the mean distance to retraining of groups of leavers, against each cause."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
    for axis, (cause, label) in zip(axes, CAUSES.items(), strict=True):
        for strategy, own in every.dropna(subset=[cause]).groupby("strategy", sort=False):
            groups = own.groupby(pd.qcut(own[cause].rank(method="first"), GROUPS, labels=False))
            middle, height = groups[cause].mean(), groups["distance"].mean()
            error = 1.96 * groups["distance"].sem()
            axis.errorbar(middle, height, error, marker="o", capsize=3, label=str(strategy))
        axis.set_xlabel(f"{label} of the leaver (fifths of all leavers)")
    axes[1].set_xscale("log")
    axes[0].set_ylabel("distance to retraining, 1 - ToW\n(0: as good as retrained)")
    leavers = len(every.drop_duplicates(["seed", "client"]))
    figure.suptitle(f"Which clients are hard to forget? {leavers} leavers; bars: 95 % of the mean")
    axes[1].legend(title="strategy", fontsize="small")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
