"""What `flwr run` asks for: Flower's run config takes only scalars, so overrides are one string."""

import shlex
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from fedunlearn import checks
from fedunlearn.checks import Refused
from fedunlearn.experiment import Experiment

from . import compare, configured, guard, plain_values, search_path, unheeded, variants
from .overrides import key_and_value

COMMANDS = ("withdraw", "compare")

_ONE_AT_A_TIME = threading.Lock()
"""Hydra's state is global, and clients in one process compose side by side."""


@dataclass(frozen=True)
class Asked:
    """A composed configuration, and what the command makes of it."""

    cfg: DictConfig
    """Without Hydra's own part."""
    strategies: Mapping[str, DictConfig]
    seeds: Sequence[int]
    folder: Path
    """Where the results go: absolute, since nobody chose the server's working directory."""

    @property
    def experiment(self) -> Experiment:
        """The experiment, on the engine that its configuration names."""
        return configured.experiment(self.cfg, self.strategies)


def asked(run_config: Mapping[str, object]) -> Asked:
    """Read a run config's ``command``, ``overrides``, ``folder`` and ``own``.

    Raises `Refused` for whatever in them cannot be.
    """
    command = str(run_config["command"])
    checks.member("command", command, COMMANDS)
    below = _absolute("folder", run_config["folder"])
    own = run_config.get("own")
    with search_path.looking_in(_absolute("own", own)) if own else nullcontext():
        return read(command, split(run_config["overrides"]), below)


def read(command: str, overrides: list[str], below: Path) -> Asked:
    """Read what ``command`` is asked for by ``overrides``; its folder lies ``below`` another.

    Raises `Refused` for whatever in them cannot be. Nothing of Hydra's stays behind.
    """
    with (
        _ONE_AT_A_TIME,
        _alone_with_hydra(),
        initialize_config_dir(version_base="1.3", config_dir=guard.CONF, job_name=command),
    ):
        whole = guard.composed(overrides)
        unheeded.require_used(command, overrides, whole)
        chosen = whole.hydra.runtime.choices.strategy
        cfg = OmegaConf.masked_copy(whole, [str(key) for key in whole if key != "hydra"])
        if command == "compare":
            strategies, seeds = compare.strategies(cfg, chosen), plain_values.seeds(cfg.seeds)
        else:
            strategy = variants.spelled_out(cfg.strategy)
            strategies, seeds = compare.with_untouched({chosen: strategy}), [cfg.seed]
        return Asked(configured.settled(cfg, seeds), strategies, seeds, below / whole.hydra.run.dir)


@contextmanager
def _alone_with_hydra() -> Iterator[None]:
    """Set aside what an app of Hydra's around this one has begun."""
    theirs = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = theirs


def _absolute(key: str, path: object) -> Path:
    """Read a folder of the run config; raise `Refused` where it depends on who reads it."""
    folder = Path(str(path)).expanduser()
    if folder.is_absolute():
        return folder
    raise Refused(
        f'{key}="{path}" is relative, but the server\'s working directory is not yours. Give an '
        "absolute path, or one that starts with ~."
    )


def split(overrides: object) -> list[str]:
    """Split ``overrides`` at spaces, as a shell does: quotes keep an override together.

    Raises `Refused` for what is no string, no override, or has no meaning under `flwr run`.
    """
    if not isinstance(overrides, str):
        raise Refused(
            f'overrides must be one string, "seed=1 dataset=digits" say, not {overrides!r}.'
        )
    try:
        parts = shlex.split(overrides)
    except ValueError as error:
        raise Refused(f"overrides cannot be split: {error} in {overrides!r}.") from None
    for override in parts:
        if override.startswith("-"):
            raise Refused(
                f"overrides holds {override}, an option of the command line; `flwr run` takes "
                "overrides such as seed=1 only, and no sweeps."
            )
        if key_and_value(override)[0].split(".")[0] == "engine":
            raise Refused(
                f"overrides holds {override}, but under `flwr run` the clients run on Flower's "
                "own grid. Leave it out; --federation-config says what a client may use, for "
                'example "client-resources-num-cpus=1".'
            )
    return parts
