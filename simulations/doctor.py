"""`fedunlearn doctor`: show the machine and the federation, and time the engine; writes nothing."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from fedunlearn import data, results
from fedunlearn.experiment import estimate

from . import configured
from .guard import check_command_line, require_one_configuration, sentences
from .variants import spelled_out


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def app(cfg: DictConfig) -> None:
    """Examine what ``cfg``, Hydra's own part included, describes, and print what is found."""
    with sentences():
        doctor = estimate.doctor
        strategies = {cfg.hydra.runtime.choices.strategy: spelled_out(cfg.strategy)}
        experiment = configured.experiment(cfg, strategies)
        scenario = experiment.scenario(cfg.seed)
        here = data.checked_federation(scenario)
        local = doctor.local(experiment.engine)
        pick, why = doctor.auto(local, here)

        console = results.plain_console()
        console.print(doctor.facts("Machine", doctor.machine()), "")
        described = doctor.described(here, experiment.training)
        console.print(doctor.facts(f"Federation of seed {cfg.seed}", described), "")
        console.print(doctor.PROCEDURE)
        speeds: dict[str, estimate.Speed] = {}
        for name, engine in doctor.contenders(experiment.engine).items():
            slow = "" if name in doctor.MODES else ", which may take 15 s or more to start"
            console.print(f"Measuring {name}{slow} …")
            speeds[name] = estimate.measure(engine, scenario, experiment.training)
        console.print("", doctor.speed_table(speeds, pick, local), "", sep="\n")
        console.print(doctor.verdict(pick, why, speeds, local.mode))
        for name in speeds.keys() - set(doctor.MODES):
            console.print(doctor.aside(name, speeds))


def main() -> None:
    """Check the command line, then examine; where a flag only prints, that is left to Hydra."""
    with sentences():
        require_one_configuration("doctor")
        configs: list[DictConfig] = []
        check_command_line("doctor", configs.append)
        app(*configs)  # past Hydra's main function, which would make an output folder
