"""`fedunlearn compare`: several strategies and seeds, one training and one reference a seed."""

import hydra
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from fedunlearn import checks
from fedunlearn.checks import Refused
from simulations import configured
from simulations.guard import check_command_line, sentences
from simulations.report import carry_out


def strategies(cfg: DictConfig, chosen: str) -> dict[str, DictConfig]:
    """Return the strategies that ``cfg.strategies`` names, by name.

    Each comes with the values of its YAML; ``strategy.<field>=…`` on the command line applies to
    the one named ``chosen``, which is the choice of the group ``strategy``.
    """
    known = GlobalHydra.instance().config_loader().get_group_options("strategy")
    named = cfg.strategies
    if named == "all":
        names = known
    elif OmegaConf.is_list(named) and len(named):
        names = [str(name) for name in named]
    else:
        raise Refused(f"strategies must be all, or a list such as [none,retrain], not {named}.")
    for name in names:
        checks.member("strategies", name, known)
    if len(set(names)) < len(names):
        raise Refused(f"strategies names one twice: {', '.join(names)}.")
    return {
        name: cfg.strategy if name == chosen else compose(f"strategy/{name}")["strategy"]
        for name in names
    }


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def app(cfg: DictConfig) -> None:
    """Run the configured comparison."""
    with sentences():
        chosen = strategies(cfg, HydraConfig.get().runtime.choices["strategy"])
        carry_out(cfg, chosen, configured.seeds(cfg.seeds))


def main() -> None:
    """Check the command line, then hand over to Hydra."""
    with sentences():
        check_command_line(
            lambda cfg: configured.experiment(
                cfg, strategies(cfg, cfg.hydra.runtime.choices.strategy)
            )
        )
        app()


if __name__ == "__main__":
    main()
