"""A search by Optuna, for several objectives at once, that goes on where it was killed.

Hydra's own plugin for Optuna asks for versions of before 2022. This search is kept in the sweep's
folder: what ended is not run again, and what was at work goes on from its checkpoint. Each
proposal is drawn with random numbers of its own, a function of the search's seed and the trial's
number, so that a search that goes on proposes what it would have proposed.
"""

import logging
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import optuna
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from fedunlearn import files
from fedunlearn.checks import Refused
from fedunlearn.randomness import Stream, drawn_seed
from fedunlearn.threads import cores

from . import search_space, trials
from .guard import sentences
from .trials import RUN

STUDY = "study.db"
"""The file in the sweep's folder that holds the search, as Optuna's own tools read it."""

REPEATS = 30
"""So many proposals in a row of what was tried before end a search: little else is left."""

HOPELESS = 5
"""So many failures from the beginning on end a search."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """A trial that is to be carried out."""

    trial: int
    run: int
    """The number of its folder."""
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Search:
    """Runs trials until ``n_trials`` have ended; all ``objectives`` are minimised."""

    config: DictConfig
    loader: ConfigLoader
    launcher: Launcher
    n_trials: int
    seed: int
    sampler: Callable[..., BaseSampler]
    objectives: Mapping[str, Sequence[str]]
    keep_going: bool
    params: Mapping[str, str]

    @classmethod
    def over(
        cls, context: HydraContext, task: TaskFunction, config: DictConfig, **values: Any
    ) -> Self:
        """Return a search whose runs are carried out by the launcher that ``config`` names."""
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=task, config=config
        )
        return cls(config, context.config_loader, launcher, **values)

    def carry_out(self, arguments: list[str]) -> None:
        """Search what ``arguments`` and ``params`` leave open, and write what was found."""
        with sentences():
            if self.config.hydra.job.name != "withdraw":
                raise Refused("Only fedunlearn withdraw returns numbers that can be minimised.")
            presets = [f"{key}={value}" for key, value in self.params.items()]
            parser = OverridesParser.create(self.loader)
            space, fixed = search_space.split(parser.parse_overrides([*presets, *arguments]))
            cfg = self.loader.load_sweep_config(self.config, fixed)
            folder = Path(self.config.hydra.sweep.dir)
            study = self._study(folder, resume=bool(cfg.resume))
            OmegaConf.save(self.config, folder / "multirun.yaml")
            configured = search_space.defaults(space, cfg)
            if not study.get_trials(deepcopy=False):
                study.enqueue_trial(configured)
            jobs = unfinished(study)
            while jobs or (jobs := self._asked(study, space)):
                self._run(study, jobs, fixed)
                trials.write(folder, study, list(space), list(self.objectives))
                require_one_finished(study)
                jobs = []
            whole = len(configured) == len(space)
            sys.stdout.write(trials.told(study, list(self.objectives), first=whole))
            sys.stdout.write(f"Written: {folder / 'pareto.csv'}, trials.csv, {STUDY}\n")

    def _study(self, folder: Path, *, resume: bool) -> optuna.Study:
        """Open the search in ``folder``, or begin it anew unless it is to ``resume``."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        folder.mkdir(parents=True, exist_ok=True)
        if not resume:
            files.remove(folder / STUDY)
        return optuna.create_study(
            storage=f"sqlite:///{folder.absolute() / STUDY}",
            study_name="fedunlearn",
            directions=["minimize"] * len(self.objectives),
            load_if_exists=True,
        )

    def _asked(self, study: optuna.Study, space: dict[str, BaseDistribution]) -> list[Job]:
        """Return what to try next: as much as the launcher carries out side by side."""
        jobs: list[Job] = []
        before = trials.carried_out(study)
        values_by_parameters = {repr(trial.params): trial.values for trial in before}
        repeats = 0
        while len(jobs) < min(self._width, self.n_trials - len(before)) and repeats < REPEATS:
            number = len(study.get_trials(deepcopy=False))
            draw = drawn_seed(self.seed, Stream.SEARCH, number)
            study.sampler = self.sampler(seed=draw)
            trial = study.ask(space)
            same = repr(trial.params)
            if same in values_by_parameters:  # every run is a function of its settings
                values = values_by_parameters[same]
                study.tell(trial, values, TrialState.COMPLETE if values else TrialState.FAIL)
                repeats += 1
                continue
            values_by_parameters[same], repeats = None, 0
            jobs.append(Job(trial.number, len(before) + len(jobs), trial.params))
            trial.set_user_attr(RUN, jobs[-1].run)
        return jobs

    @property
    def _width(self) -> int:
        """How many runs the launcher carries out at a time."""
        width = int(self.config.hydra.launcher.get("n_jobs") or 1)
        return cores() if width < 0 else width

    def _run(self, study: optuna.Study, jobs: Sequence[Job], fixed: Sequence[str]) -> None:
        """Carry out jobs whose numbers follow each other, and note what came of each."""
        tried = [[f"{key}={value}" for key, value in job.params.items()] for job in jobs]
        ends = self.launcher.launch(
            [[*fixed, *tried_overrides] for tried_overrides in tried], jobs[0].run
        )
        for job, ended in zip(jobs, ends, strict=True):
            self._tell(study, job, ended)

    def _tell(self, study: optuna.Study, job: Job, ended: JobReturn) -> None:
        """Note what came of a run; raise what it raised unless the search is to go on."""
        came = ended._return_value
        if ended.status is JobStatus.COMPLETED and all(map(math.isfinite, came)):
            study.tell(job.trial, came)
        elif ended.status is JobStatus.COMPLETED or self.keep_going:
            log.warning("Run %d failed: %s", job.run, came)
            study.tell(job.trial, state=TrialState.FAIL)
        else:
            raise came


def unfinished(study: optuna.Study) -> list[Job]:
    """Return the runs that were at work when the search was killed."""
    jobs = []
    for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        if RUN in trial.user_attrs:
            jobs.append(Job(trial.number, trial.user_attrs[RUN], trial.params))
        else:  # killed before it had a folder
            study.tell(trial.number, state=TrialState.FAIL)
    return jobs


def require_one_finished(study: optuna.Study) -> None:
    """Raise `Refused` where the first runs all failed: so will the others."""
    before = trials.carried_out(study)
    if len(before) >= HOPELESS and all(trial.state is TrialState.FAIL for trial in before):
        raise Refused(f"The first {len(before)} runs all failed; the lines above say why.")
