"""What a user got wrong is one sentence and exit code 2, before any training."""

import argparse
import contextlib
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import yaml
from hydra import compose, version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from fedunlearn import experiment, unlearning
from fedunlearn.checks import Refused, nearest
from fedunlearn.files import require_space

from . import remedies, search_path, tuning, unheeded
from .overrides import key_and_value

CONF = str(search_path.CONF)
search_path.register()


@contextlib.contextmanager
def sentences() -> Iterator[None]:
    """Print refusals and failed clients to standard error, and exit with 2 or 1."""
    try:
        yield
    except Refused as refusal:
        _exit(2, refusal)
    except unlearning.ClientFailed as failure:
        _exit(1, failure)


def _exit(code: int, error: Exception) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"{error}\n")
    sys.exit(code)


def check_command_line(command: str, check: Callable[[Any], object]) -> None:
    """Compose what ``command`` is asked for and ``check`` it, every value of a sweep as well.

    Raises `Refused`. Hydra's own flags that only print something are left to Hydra.
    """
    args = _parsed()
    only_prints = args.help or args.hydra_help or args.cfg or args.info or args.shell_completion
    if only_prints or args.config_path or args.config_name or args.experimental_rerun:
        return
    for note in search_path.passed_over():
        sys.stderr.write(f"{note}\n")
    with _hydra(args.config_dir):
        for overrides in _alternatives(args.overrides if args.multirun else None, args.overrides):
            cfg = composed(overrides)
            unheeded.require_used(command, overrides, cfg)
            place = Path(cfg.hydra.sweep.dir if args.multirun else cfg.hydra.run.dir)
            require_space(place)
            check(cfg)
            tuning.prepare(cfg)
        if not (cfg.resume or cfg.overwrite):
            experiment.require_free(place, below=args.multirun)


def require_one_configuration(command: str) -> None:
    """Raise `Refused` for flags that sweep or compose otherwise, in a command that runs nothing."""
    args = _parsed()
    if args.multirun or args.config_path or args.config_name or args.experimental_rerun:
        raise Refused(
            f"fedunlearn {command} examines one configuration: leave out -m, --config-path, "
            "--config-name and --experimental-rerun."
        )


def _parsed() -> argparse.Namespace:
    """Read Hydra's own flags; raise `Refused` for one that is none."""
    parser: argparse.ArgumentParser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise Refused(f"{message}. Keys are written KEY=VALUE, without --. --hydra-help has flags.")

    parser.error = refuse  # type: ignore[method-assign]
    return parser.parse_args()


@contextlib.contextmanager
def _hydra(config_dir: str | None) -> Iterator[None]:
    """Start Hydra as its own main function does, with the user's ``--config-dir`` behind ours."""
    version.setbase("1.3")
    path = create_config_search_path(CONF)
    if config_dir is not None:
        folder = Path(config_dir).absolute()
        if not folder.is_dir():
            raise Refused(f"--config-dir {config_dir} is not a folder.")
        path.prepend("command-line", f"file://{folder}", anchor=SearchPathQuery("schema", None))
    Hydra.create_main_hydra2("check", path)
    try:
        yield
    finally:
        GlobalHydra.instance().clear()


def _alternatives(swept: list[str] | None, overrides: list[str]) -> Iterator[list[str]]:
    """Yield the first point of a sweep, then points in which one value differs from it."""
    if swept is None:
        yield overrides
        return
    try:
        loader = GlobalHydra.instance().config_loader()  # for glob(…) over a group
        parsed = OverridesParser.create(loader).parse_overrides(swept)
    except OverrideParseException as error:
        raise Refused(remedies.unparsed(error)) from None
    except HydraException as error:
        raise Refused(remedies.first_line(error)) from None
    points = [
        [f"{o.get_key_element()}={value}" for value in _values(o)]
        if o.is_sweep_override() and not o.is_hydra_override()
        else [str(o.input_line)]
        for o in parsed
    ]
    first = [values[0] for values in points]
    yield first
    for place, values in enumerate(points):
        for value in values[1:]:
            yield [*first[:place], value, *first[place + 1 :]]


def _values(override: Override) -> list[str]:
    """Return all values of a sweep, or the ends of an interval."""
    if override.is_interval_sweep():
        sweep: Any = override.value()
        return [str(sweep.start), str(sweep.end)]
    return list(override.sweep_string_iterator())


def composed(overrides: list[str]) -> DictConfig:
    """Compose the configuration, Hydra's own part included; raise `Refused` for what is wrong."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return compose("config", overrides=overrides, return_hydra_config=True)
    except MissingConfigException as error:
        missing = str(error.missing_cfg_file)
        group, _, name = missing.rpartition("/")
        path = next((o for o in overrides if o.endswith(missing.partition("/")[2])), "")
        if "/" in key_and_value(path)[1]:
            raise Refused(remedies.no_path(*key_and_value(path))) from None
        raise Refused(
            f"{group}={name} does not exist{nearest(name, error.options or [])} "
            f"{search_path.looked(group)}"
        ) from None
    except OverrideParseException as error:
        raise Refused(remedies.unparsed(error)) from None
    except (HydraException, OmegaConfBaseException) as error:
        key = re.search(r"Could not override '([^']+)'", str(error))
        if key is None:
            raise Refused(remedies.first_line(error)) from None
        others = [o for o in overrides if key_and_value(o)[0] != key.group(1)]
        raise Refused(remedies.absent(key.group(1), others)) from None
    except yaml.YAMLError as error:
        raise Refused(remedies.unreadable(error)) from None
    except UnicodeDecodeError as error:
        own = search_path.own_folder()
        raise Refused(f"A file of conf/ in {own} is no text in UTF-8: {error}.") from None
    except ValueError as error:
        raise Refused(remedies.no_choice(overrides, error)) from None
