"""`fedunlearn compare`: several strategies and seeds, one training and one reference a seed."""

from collections.abc import Mapping
from itertools import chain

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from fedunlearn.checks import Refused, short
from fedunlearn.results import UNTOUCHED

from . import configured, plain_values, tuned, variants
from .guard import check_command_line, sentences

NOT_FOR_ALL = (
    *("fedunlearn.methods.TransposeKernels", "which: convolutions"),
    "fedunlearn.local.InputNoise",
)
"""What the YAML of a strategy says that not every model or data set fits: kernels, numbers."""


def strategies(cfg: DictConfig, chosen: str) -> dict[str, DictConfig]:
    """Return the strategies that ``cfg.strategies`` names, by name.

    Each comes with the values of its YAML; ``strategy.<field>=…`` on the command line applies to
    the one named ``chosen``, which is the choice of the group ``strategy``. An entry such as
    ``{puf: {eta: 20}}`` is a variant of a strategy, and is called ``puf(eta=20)``; ``all`` stands
    for every strategy, also within a list, but for those that run others, and those that take
    convolutions or inputs that are numbers, which not every model or data set has.
    """
    named = cfg.strategies
    if named != "all" and not (OmegaConf.is_list(named) and len(named)):
        raise Refused(
            f"strategies must be all, or a list such as [none,retrain], not {short(str(named))}. "
            "One strategy is a list as well: 'strategies=[federaser]'."
        )
    entries = ["all"] if named == "all" else OmegaConf.to_container(named, resolve=True)
    assert isinstance(entries, list)
    configs: dict[str, DictConfig] = {}
    single = [name for name in variants.options() if for_all(variants.declared(name))]
    for entry in chain.from_iterable(single if one == "all" else [one] for one in entries):
        label, part = variants.variant(entry, {chosen: cfg.strategy})
        if label in configs:
            raise Refused(f"strategies names {label} twice.")
        configs[label] = part
    return tuned.beside(cfg, with_untouched(configs))


def for_all(part: DictConfig) -> bool:
    """Whether ``all`` stands for a strategy, too."""
    said = OmegaConf.to_yaml(part)
    runs_others = any(field in part for field in variants.INNER)
    return not runs_others and not any(word in said for word in NOT_FOR_ALL)


def with_untouched(configs: Mapping[str, DictConfig]) -> dict[str, DictConfig]:
    """Return the strategies, with the untouched model among them: what there was to forget."""
    if UNTOUCHED in configs:
        return dict(configs)
    return {UNTOUCHED: variants.declared(UNTOUCHED), **configs}


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def app(cfg: DictConfig) -> None:
    """Run the configured comparison."""
    from .running import carry_out  # after the command line was found to be right

    with sentences():
        chosen = strategies(cfg, HydraConfig.get().runtime.choices["strategy"])
        seeds = plain_values.seeds(cfg.seeds)
        carry_out(configured.settled(cfg, seeds), chosen, seeds)


def main() -> None:
    """Check the command line, then hand over to Hydra."""
    with sentences():
        check_command_line(
            "compare",
            lambda cfg: configured.experiment(
                cfg, strategies(cfg, cfg.hydra.runtime.choices.strategy)
            ),
        )
        app()


if __name__ == "__main__":
    main()
