"""Finished runs of presets, and the two ends of a measure in them."""

import io

from hydra import compose, initialize_config_dir
from rich.console import Console

from fedunlearn.experiment import run
from fedunlearn.results import load
from fedunlearn.simulations import compare, configured, guard


def finished(folder, preset):
    """Run a preset with one seed and nothing but the two ends of the scale."""
    overrides = [f"experiment={preset}", "strategies=[none]", "references=1", "evaluators.every=24"]
    with initialize_config_dir(version_base="1.3", config_dir=guard.CONF):
        cfg = compose("config", overrides=overrides)
        chosen = compare.strategies(cfg, "federaser")
        experiment = configured.experiment(cfg, chosen)
        content = configured.content(cfg, chosen)
        run(experiment, (0,), folder, content, Console(file=io.StringIO()))
    return load(folder)


def ends(found, metric):
    """The measure before the request, and of the retrained model."""
    rows = found.metrics[(found.metrics["phase"] == "unlearn") & (found.metrics["round"] == 0)]
    before = rows.loc[rows["metric"] == metric, "value"].iloc[0]
    summary = found.summary.set_index("strategy")
    return before, summary.loc["retrain", metric], summary.loc["none", metric]
