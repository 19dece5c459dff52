"""Entries of ``strategies``: a name, or a name with the fields that differ from its YAML."""

from collections.abc import Mapping
from functools import cache

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from fedunlearn.checks import Refused, nearest, short

from .search_path import looked
from .withdrawals import value

INNER = ("strategies", "strategy")
"""The fields of a strategy that runs others: a list of them, and a single one."""

_ABSENT = object()


def options() -> list[str]:
    """Return the strategies that conf/strategy offers."""
    return list(GlobalHydra.instance().config_loader().get_group_options("strategy"))


def declared(name: str) -> DictConfig:
    """Return what the YAML of a strategy says."""
    sources = GlobalHydra.instance().config_loader().get_search_path().get_path()
    return _composed(name, tuple(str(source.path) for source in sources))


@cache
def _composed(name: str, places: tuple[str, ...]) -> DictConfig:
    """Return what the YAML of a strategy says that lies in one of ``places``.

    Checking a command line and carrying it out ask for the same.
    """
    part: DictConfig = compose(f"strategy/{name}")["strategy"]
    return part


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
    return entry if told else OmegaConf.to_container(variant(entry, {})[1], resolve=True)


def _replaced(part: DictConfig, values: Mapping[str, object]) -> DictConfig:
    """Return ``part`` with other ``values``, none of which is merged with what stood there."""
    kept = {name: value for name, value in part.items() if name not in values}
    return OmegaConf.create({name: values.get(str(name), kept.get(name)) for name in part})


def variant(entry: object, given: Mapping[str, DictConfig]) -> tuple[str, DictConfig]:
    """Return one entry of ``strategies``, what it is called and what it says.

    Those ``given`` take the place of what their YAMLs say.
    """
    known = options()
    name, fields = _name_and_fields(entry)
    if name not in known:
        raise Refused(
            f"strategies={short(name)} does not exist{nearest(name, known)} {looked('strategy')}"
        )
    part = given[name] if name in given else declared(name)
    label = f"{name}({_listed(fields)})" if fields else name
    return label, spelled_out(_with(part, fields, label) if fields else part)


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
        else f"{name.rpartition('.')[2]}={_one(value)}"
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
    """Return ``part`` with other values for these fields; raise `Refused` for unknown ones.

    A field further down is a path, such as ``destroy.0.std``.
    """
    named = {n: v for n, v in fields.items() if n in INNER and n in part and _names_another(v)}
    strict = part.copy()
    OmegaConf.set_struct(strict, True)
    try:
        merged = OmegaConf.merge(
            strict, {n: v for n, v in fields.items() if n not in named and "." not in n}
        )
    except ConfigKeyError as error:
        raise Refused(
            f"strategies: {label} sets {error.key}, which does not exist"
            f"{nearest(str(error.key), map(str, error.parent_node or strict))}"
        ) from None
    except OmegaConfBaseException as error:
        raise Refused(f"strategies: {label} cannot be: {str(error).splitlines()[0]}.") from None
    assert isinstance(merged, DictConfig)
    for path in (name for name in fields if "." in name):
        if not _there(merged, path):
            raise Refused(f"strategies: {label} sets {short(path)}, which does not exist.")
        OmegaConf.update(merged, path, fields[path], merge=False)
    return _replaced(merged, named) if named else merged


def _there(part: DictConfig, path: str) -> bool:
    """Whether ``part`` has a value, be it null, at a path such as ``destroy.0.std``."""
    try:
        return OmegaConf.select(part, path, default=_ABSENT) is not _ABSENT
    except OmegaConfBaseException:  # a word where the place in a list belongs
        return False


def _names_another(value: object) -> bool:
    """Whether a value of a field of `INNER` names strategies; else it changes what is there."""
    return (
        not isinstance(value, dict) or "_target_" in value or not value.keys().isdisjoint(options())
    )
