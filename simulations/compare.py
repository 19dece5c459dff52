"""`fedunlearn compare`: several strategies and seeds, one training and one reference a seed."""

from collections.abc import Mapping
from functools import cache
from itertools import chain

import hydra
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from fedunlearn.checks import Refused, nearest, short
from fedunlearn.results import UNTOUCHED

from . import configured, plain_values
from .guard import check_command_line, sentences
from .search_path import looked
from .withdrawals import value

INNER = ("strategies", "strategy")
"""The fields of a strategy that runs others: a list of them, and a single one."""

ON_CONVOLUTIONS = ("fedunlearn.methods.TransposeKernels", "which: convolutions")
"""What the YAML of a strategy says that works on convolutions."""


def strategies(cfg: DictConfig, chosen: str) -> dict[str, DictConfig]:
    """Return the strategies that ``cfg.strategies`` names, by name.

    Each comes with the values of its YAML; ``strategy.<field>=…`` on the command line applies to
    the one named ``chosen``, which is the choice of the group ``strategy``. An entry such as
    ``{puf: {eta: 20}}`` is a variant of a strategy, and is called ``puf(eta=20)``; ``all`` stands
    for every strategy, also within a list, but for those that run others, and those that work on
    convolutions, which not every model has.
    """
    options = _options()
    named = cfg.strategies
    if named != "all" and not (OmegaConf.is_list(named) and len(named)):
        raise Refused(
            f"strategies must be all, or a list such as [none,retrain], not {short(str(named))}. "
            "One strategy is a list as well: 'strategies=[federaser]'."
        )
    entries = ["all"] if named == "all" else OmegaConf.to_container(named, resolve=True)
    assert isinstance(entries, list)
    configs: dict[str, DictConfig] = {}
    single = [name for name in options if _for_all(_declared(name, _places()))]
    for entry in chain.from_iterable(single if one == "all" else [one] for one in entries):
        label, part = _variant(entry, {chosen: cfg.strategy})
        if label in configs:
            raise Refused(f"strategies names {label} twice.")
        configs[label] = part
    return with_untouched(configs)


def _for_all(part: DictConfig) -> bool:
    """Whether ``all`` stands for a strategy, too."""
    said = OmegaConf.to_yaml(part)
    runs_others = any(field in part for field in INNER)
    return not runs_others and not any(word in said for word in ON_CONVOLUTIONS)


def spelled_out(part: DictConfig) -> DictConfig:
    """Return a strategy with all that it names of others, as their YAMLs say it.

    Entries are those of ``strategies``, or parts with a ``_target_``; one that names no others
    comes back itself.
    """
    named = {name: value(part.get(name)) for name in INNER if part.get(name)}
    told = {
        name: list(map(_spelled, entry)) if isinstance(entry, list) else _spelled(entry)
        for name, entry in named.items()
    }
    return part if told == named else _replaced(part, told)


def _spelled(entry: object) -> object:
    """Return one entry of a strategy that runs others as its YAML says it."""
    told = isinstance(entry, dict) and "_target_" in entry
    return entry if told else OmegaConf.to_container(_variant(entry, {})[1], resolve=True)


def _replaced(part: DictConfig, values: Mapping[str, object]) -> DictConfig:
    """Return ``part`` with other ``values``, none of which is merged with what stood there."""
    kept = {name: value for name, value in part.items() if name not in values}
    return OmegaConf.create({name: values.get(str(name), kept.get(name)) for name in part})


def _variant(entry: object, given: Mapping[str, DictConfig]) -> tuple[str, DictConfig]:
    """Return one entry of ``strategies``, what it is called and what it says.

    Those ``given`` take the place of what their YAMLs say.
    """
    options = _options()
    name, fields = _name_and_fields(entry)
    if name not in options:
        raise Refused(
            f"strategies={short(name)} does not exist{nearest(name, options)} {looked('strategy')}"
        )
    part = given[name] if name in given else _declared(name, _places())
    label = f"{name}({_listed(fields)})" if fields else name
    return label, spelled_out(_with(part, fields, label) if fields else part)


def _options() -> list[str]:
    """Return the strategies that conf/strategy offers."""
    return list(GlobalHydra.instance().config_loader().get_group_options("strategy"))


def with_untouched(configs: Mapping[str, DictConfig]) -> dict[str, DictConfig]:
    """Return the strategies, with the untouched model among them: what there was to forget."""
    if UNTOUCHED in configs:
        return dict(configs)
    return {UNTOUCHED: _declared(UNTOUCHED, _places()), **configs}


@cache
def _declared(name: str, places: tuple[str, ...]) -> DictConfig:
    """Return what the YAML of a strategy says that lies in one of ``places``.

    Checking a command line and carrying it out ask for the same.
    """
    part: DictConfig = compose(f"strategy/{name}")["strategy"]
    return part


def _places() -> tuple[str, ...]:
    """Return where Hydra looks for configurations now."""
    sources = GlobalHydra.instance().config_loader().get_search_path().get_path()
    return tuple(str(source.path) for source in sources)


def _name_and_fields(entry: object) -> tuple[str, Mapping[str, object]]:
    """Read one entry of ``strategies``: a name, or ``{name: {field: value}}``."""
    if not isinstance(entry, dict):
        return str(entry), {}
    for name, fields in entry.items():
        if len(entry) == 1 and isinstance(fields, dict) and fields:
            return str(name), fields
    raise Refused(
        "Each of strategies is a name, or one name with the fields that differ, such as "
        f"{{puf: {{eta: 20}}}}; {short(str(entry))} is neither."
    )


def _listed(fields: Mapping[str, object]) -> str:
    """Write fields as ``eta=20,epochs=2``; of nested ones only the innermost name."""
    parts = [
        _listed(value)
        if isinstance(value, dict) and not (name in INNER and _names_another(value))
        else f"{name}={_one(value)}"
        for name, value in fields.items()
    ]
    return ",".join(parts).replace("/", "-")  # it names files


def _one(value: object) -> str:
    """Write a value for a file's name; a list as ``a+b``, a variant in it as ``puf(eta=20)``."""
    if isinstance(value, list):
        return "+".join(map(_one, value))
    if isinstance(value, dict):
        if "_target_" in value:
            return str(value["_target_"]).rpartition(".")[2]
        return "+".join(f"{name}({_listed(fields)})" for name, fields in value.items())
    return "null" if value is None else str(value)


def _with(part: DictConfig, fields: Mapping[str, object], label: str) -> DictConfig:
    """Return ``part`` with other values for these fields; raise `Refused` for unknown ones."""
    named = {n: v for n, v in fields.items() if n in INNER and n in part and _names_another(v)}
    strict = part.copy()
    OmegaConf.set_struct(strict, True)
    try:
        merged = OmegaConf.merge(strict, {n: v for n, v in fields.items() if n not in named})
    except ConfigKeyError as error:
        raise Refused(
            f"strategies: {label} sets {error.key}, which does not exist"
            f"{nearest(str(error.key), map(str, error.parent_node or strict))}"
        ) from None
    except OmegaConfBaseException as error:
        raise Refused(f"strategies: {label} cannot be: {str(error).splitlines()[0]}.") from None
    assert isinstance(merged, DictConfig)
    return _replaced(merged, named) if named else merged


def _names_another(value: object) -> bool:
    """Whether a value of a field of `INNER` names strategies; else it changes what is there."""
    return (
        not isinstance(value, dict)
        or "_target_" in value
        or not value.keys().isdisjoint(_options())
    )


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
