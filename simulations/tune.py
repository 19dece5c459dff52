"""`fedunlearn tune`: as many trials for every strategy, each in its own search space.

Writes trials.csv and tuned.yaml, which `fedunlearn compare tuned=FILE` puts beside the untuned.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from fedunlearn import checks, data, files, results, unlearning
from fedunlearn.checks import Refused

from . import compare, configured, plain_values, trial_settings, tuned, variants
from .guard import check_command_line, require_one_configuration, sentences

if TYPE_CHECKING:
    import pandas as pd

    from fedunlearn.experiment import Experiment
    from fedunlearn.unlearning import Layout

Setting = tuple[str, Mapping[str, object], DictConfig]
"""What a setting is called in a run, the fields that it changes, and the strategy with them."""


@dataclass(frozen=True)
class Trial:
    """One setting of one strategy."""

    strategy: str
    number: int
    fields: Mapping[str, object]
    """Those that differ from the strategy's YAML; none in trial 0."""
    part: DictConfig

    @property
    def settings(self) -> str:
        """The fields as the command line has them."""
        return ", ".join(f"{name}={_plain(value)}" for name, value in self.fields.items())


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _held(part: DictConfig, key: str) -> object:
    """Return the plain value that a strategy has at ``key``; nothing where it has no such field."""
    found = OmegaConf.select(part, key)
    return OmegaConf.to_container(found) if OmegaConf.is_config(found) else found


def strategies(cfg: DictConfig) -> dict[str, DictConfig]:
    """Return the strategies to be tuned, as their YAMLs say them; raise `Refused` for variants."""
    chosen = compare.strategies(cfg, "")
    chosen.pop(results.RETRAIN, None)  # it runs anyway: as what the others are measured against
    varied = next((name for name in chosen if name not in variants.options()), None)
    if varied is not None:
        name = varied.partition("(")[0]
        raise Refused(
            f"fedunlearn tune varies what strategies names: write {name} for {varied}. What is "
            f"tried of it stands in conf/sweep/{name}.yaml."
        )
    return chosen


def untuned(cfg: DictConfig, seeds: Sequence[int]) -> Experiment:
    """Build the comparison of the strategies as they stand; raise `Refused` for what cannot be."""
    checks.require("trials", checks.Whole(1), cfg.trials)
    if cfg.references is None:
        cfg.references = configured.SEVERAL
    chosen = strategies(cfg)
    if cfg.references == 1:
        raise Refused(
            "references=1 does not show how far retrained models differ, and in "
            "that strategies are measured here. Write references=3."
        )
    return configured.experiment(cfg, chosen)


@dataclass(frozen=True)
class Space:
    """The settings that can be, on one federation and model."""

    experiment: Experiment
    layout: Layout
    draws: Callable[[str], Iterable[Mapping[str, object]]]
    """What to try of a strategy, in this order: fields that take other values."""
    most: int
    """Trials of a strategy."""
    left_out: list[str] = dataclasses.field(default_factory=list)
    """Sentences on settings that cannot be."""

    @classmethod
    def of(
        cls,
        experiment: Experiment,
        seeds: Sequence[int],
        draws: Callable[[str], Iterable[Mapping[str, object]]],
        most: int,
    ) -> Space:
        """Return what can be on the federation of the first of ``seeds``."""
        federation = data.build_federation(experiment.scenarios(seeds)[seeds[0]])
        return cls(experiment, federation.network.layout, draws, most)

    def trials(self, configs: Mapping[str, DictConfig]) -> dict[str, Trial]:
        """Return the trials of all strategies, by what they are called in the run."""
        named: dict[str, Trial] = {}
        for name, part in configs.items():
            for label, fields, varied in self._of(name, part):
                number = sum(trial.strategy == name for trial in named.values())
                if number == self.most:
                    break
                named[label] = Trial(name, number, fields, varied)
        return named

    def _of(self, name: str, part: DictConfig) -> Iterator[Setting]:
        """Yield a strategy as it stands, then what can be of its space that differs."""
        yield name, {}, part
        for drawn in self.draws(name):
            fields = {key: one for key, one in drawn.items() if _held(part, key) != one}
            if not fields:
                continue
            label, varied = variants.variant({name: fields}, {name: part})
            refusal = self._refusal(label, varied)
            if refusal:
                self.left_out.append(f"{label} is left out: {refusal}")
                continue
            yield label, fields, varied

    def _refusal(self, label: str, part: DictConfig) -> str:
        """Return why a setting cannot be, or nothing."""
        try:
            kind = checks.Part(unlearning.UnlearningStrategy)
            made = configured.build(f"strategies.{label}", part, kind)
            dataclasses.replace(self.experiment, strategies={label: made}).needs.check(self.layout)
        except Refused as refusal:
            return str(refusal)
        return ""


Judge = Callable[["pd.DataFrame", Mapping[str, Trial]], "pd.DataFrame"]
"""Makes the table of trials of a run's summary and of what its names stand for."""


Legend = Callable[["pd.DataFrame"], str]
"""Says how to read a table of trials."""


def carry_out(
    cfg: DictConfig, space: Space, configs: Mapping[str, DictConfig], judge: Judge, legend: Legend
) -> Mapping[str, Mapping[str, object]]:
    """Try all settings in one comparison, print and write what came of them.

    Returns the fields that were chosen, by strategy.
    """
    from .running import carried_out, shown  # after the command line was found to be right

    named = space.trials(configs)
    console = results.wide_enough(results.PersistentConsole())
    for sentence in space.left_out:
        console.print(sentence, highlight=False, markup=False)
    cfg.figures = False
    seeds = plain_values.seeds(cfg.validation, "validation")
    parts = {label: trial.part for label, trial in named.items()}
    path = Path(HydraConfig.get().runtime.output_dir)
    _, summary = carried_out(cfg, parts, seeds, path, console)
    table = judge(summary, named)
    console.print(results.printed_trials(table))
    console.print(legend(table), "", sep="\n", highlight=False)
    by_number = {(trial.strategy, trial.number): trial.fields for trial in named.values()}
    best = table[table["chosen"]]
    pairs = zip(best["strategy"].astype(str), best["trial"].astype(int), strict=True)
    chosen = {name: {**_given(name, configs[name]), **by_number[name, n]} for name, n in pairs}
    content = table.to_csv(index=False, lineterminator="\n").encode()
    written = [
        files.write(path / results.TRIALS_FILE, content),
        tuned.written(path / tuned.FILE, seeds, chosen),
    ]
    results.note_derived(path, written)
    console.print(*(f"Written: {shown(file)}" for file in written), sep="\n", soft_wrap=True)
    console.print(
        "\nUntuned and tuned side by side, on other seeds:\n"
        f"  fedunlearn compare tuned={shown(path / tuned.FILE)} 'seeds=[0,1,2]' …",
        highlight=False,
        soft_wrap=True,
    )
    return chosen


def _given(name: str, part: DictConfig) -> dict[str, object]:
    """Return the fields in which a strategy differs from its YAML before anything is tried."""
    plain = variants.declared(name)
    return {str(key): _held(part, str(key)) for key in part if part[key] != plain.get(key)}


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def app(cfg: DictConfig) -> None:
    """Try all settings, and say which came nearest to retraining."""
    with sentences():
        seeds = plain_values.seeds(cfg.validation, "validation")
        draws = partial(trial_settings.drawn, seeds=seeds)
        experiment = untuned(cfg, seeds)

        def judge(summary: pd.DataFrame, named: Mapping[str, Trial]) -> pd.DataFrame:
            return results.trial_table(summary, told(named), experiment.margins)

        def legend(table: pd.DataFrame) -> str:
            return f"{results.TUNING_LEGEND}\n{results.worst_measures(table)}"

        space = Space.of(experiment, seeds, draws, cfg.trials)
        carry_out(cfg, space, strategies(cfg), judge, legend)


def told(named: Mapping[str, Trial]) -> dict[str, tuple[str, int, str]]:
    """Return the strategy, the number and the settings of each trial, by its name in the run."""
    return {label: (one.strategy, one.number, one.settings) for label, one in named.items()}


def main() -> None:
    """Check the command line, then hand over to Hydra."""
    with sentences():
        require_one_configuration("tune")
        check_command_line(
            "tune", lambda cfg: untuned(cfg, plain_values.seeds(cfg.validation, "validation"))
        )
        app()


if __name__ == "__main__":
    main()
