"""From a composed configuration to plain values: the only place that instantiates it.

Rooms are named by their faces here, which import nothing until a value is built: what Hydra alone
can refuse, or print, does not wait for torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from fedunlearn import checks, data, history, results, unlearning
from fedunlearn import evaluators as evaluators_room
from fedunlearn import experiment as experiments
from fedunlearn.checks import FieldRefused, Refused
from fedunlearn.results import costing

from . import plain_values, withdrawals
from .offered import require_offered
from .overrides import key_and_value
from .search_path import not_found
from .withdrawals import value

HOW = ("resume", "overwrite")
"""Keys that tell how a process treats the folder that it finds."""

LONGEST = 300
"""Characters of what a class says that cannot be built."""

EVALUATION = ("measures", "final", "every", "batch_size")
"""Keys of the group evaluators."""

SEVERAL = 3
"""References of each seed, unless the configuration says otherwise."""


def telling(overrides: Iterable[str]) -> list[str]:
    """Return those of ``overrides`` that tell what a run is: all but those of `HOW`."""
    return [override for override in overrides if key_and_value(override)[0] not in HOW]


def settled(cfg: DictConfig, seeds: Sequence[int]) -> DictConfig:
    """Set the number of references where it is open: of a single seed 1, else `SEVERAL`.

    No number of them up to 18 can tell anything from chance under a single seed.
    """
    cfg.references = _references(cfg, single=len(seeds) == 1)
    return cfg


def _references(cfg: DictConfig, *, single: bool = False) -> int:
    """Return the references of each seed, also where ``cfg`` leaves their number open."""
    usual = 1 if single else SEVERAL
    return usual if cfg.references is None else cast(int, cfg.references)


def experiment(cfg: DictConfig, strategies: Mapping[str, DictConfig]) -> experiments.Experiment:
    """Build the experiment that ``cfg`` describes, with these strategies by name.

    Raises `Refused` for whatever in it cannot be.
    """
    plain_values.require(cfg, strategies)
    training, dataset = made("training", cfg.training), made("dataset", cfg.dataset)
    partition = _partition(cfg.partition, dataset)
    chosen = cfg.get("strategy")
    asked = _timeline(cfg, partition, training.rounds)
    build("devices", cfg.devices, checks.Part(costing.Devices))  # which `fedunlearn cost` will want
    keeping = OmegaConf.to_container(cfg.history, resolve=True)
    assert isinstance(keeping, dict)
    allowed = keeping.pop("budget", None)
    return experiments.Experiment(
        dataset=dataset,
        partition=partition,
        planting=made("planting", cfg.planting),
        model=built_model(cfg.model),
        training=training,
        requests=asked.requests,
        joins=asked.joins,
        strategies={
            name: build(
                "strategy" if part is chosen else f"strategies.{name}",
                part,
                checks.Part(unlearning.UnlearningStrategy),
            )
            for name, part in strategies.items()
        },
        reference=made("reference", cfg.reference),
        evaluation=evaluation(cfg.evaluators),
        recovery=made("recovery", cfg.recovery),
        store=made("store", keeping, "history"),
        policy=made("policy", cfg.policy),
        budget=None if allowed is None else history.byte_amounts.parse(allowed),
        thresholds=made("thresholds", cfg.certificate, "certificate"),
        margins=made("margins", cfg.answer, "answer"),
        engine=made("engine", cfg.engine),
        cooperates=bool(cfg.withdrawal.cooperates),
        checkpoint=cfg.checkpoint,
        logger=made("logger", cfg.logger),
        cache=_path(cfg.cache),
        signing_key=_path(cfg.signing_key),
        heldout=cfg.heldout,
        proxy=cfg.proxy,
        split=cfg.split,
        references=_references(cfg),
    )


def _timeline(
    cfg: DictConfig, partition: data.Partition | data.ByOwner, rounds: int
) -> withdrawals.Timeline:
    """Read who asks for what and who joins, and when."""
    names = partition.names if isinstance(partition, data.ByOwner) else ()
    return withdrawals.Reader(partition.clients, rounds, names, build).read(cfg.withdrawal)


def _partition(part: Any, dataset: data.DatasetSource) -> data.Partition | data.ByOwner:
    """Build who holds what; where the data set says so, it is read."""
    built = build("partition", part)
    if isinstance(built, data.Natural):
        return built.of(dataset)
    checks.require("partition", checks.Part(data.Partition), built)
    return cast(data.Partition, built)


def _path(value: str | None) -> Path | None:
    return None if value is None else Path(value).expanduser().absolute()


def evaluation(evaluators: DictConfig) -> experiments.Evaluation:
    """Build what is measured, and how often; a wrong value is named by its place in the list."""
    values: dict[str, Any] = plain(evaluators)
    built: dict[str, Any] = {}
    for kind in ("measures", "final"):
        listed = values.pop(kind, [])
        if not isinstance(listed, list):
            raise Refused(f"evaluators.{kind} must be a list, not {checks.shown(listed)}.")
        built[kind] = tuple(
            build(f"evaluators.{kind}[{place}]", measure, checks.Part(evaluators_room.Evaluator))
            for place, measure in enumerate(listed)
        )
    unknown = values.keys() - {"every", "batch_size"}
    if unknown:
        name = min(unknown)
        raise Refused(f"evaluators.{name} does not exist{checks.nearest(name, EVALUATION)}")
    return experiments.Evaluation(**built, **values)


def rebuilt(run: results.Run) -> experiments.Experiment:
    """Return the experiment of a finished run, on this machine; raise `Refused` where it cannot be.

    Whatever trained it, what is trained now is trained here in this process.
    """
    config = run.manifest.get("config")
    if not isinstance(config, dict) or not isinstance(config.get("strategies"), dict):
        raise Refused(f"The manifest of {run.folder} holds no configuration to train again from.")
    here: dict[str, Any] = {
        **config,
        "engine": {"_target_": "fedunlearn.flower.Local"},
        "cache": None,
        "signing_key": None,
        "logger": {"_target_": "fedunlearn.experiment.loggers.NoLogger"},
    }
    require_offered(here, run.folder / results.MANIFEST_FILE)
    cfg = OmegaConf.create(here)
    try:
        again = experiment(cfg, cfg.strategies)
    except Refused as refusal:
        raise Refused(f"{run.folder / results.MANIFEST_FILE}: {refusal}") from None
    except (AttributeError, KeyError, TypeError) as error:
        raise Refused(
            f"The configuration in {run.folder} is not one of this version of fedunlearn: "
            f"{str(error).splitlines()[0]}."
        ) from error
    begun = run.manifest.get("timeline_sha256")
    if begun not in (None, experiments.timeline_hash(again.requests, again.joins)):
        raise Refused(
            f"{run.folder / results.MANIFEST_FILE} names a trace that is no longer the one of the "
            "run: its requests are others now. Bring back the file as it was."
        )
    return again


def made(field: str, part: Any, where: str = "") -> Any:
    """Build the part of the configuration that a ``field`` of an experiment is; as `build`."""
    return build(
        where or field, part, checks.bound(checks.annotations(experiments.Experiment)[field])[0]
    )


def built_model(part: Any) -> Any:
    """Build what builds the model; as `build`."""
    model = build("model", part)
    if not callable(model):
        raise Refused("model must be a part of its own, with a _target_ that builds a model.")
    return model


def build(where: str, part: Any, kind: checks.Bound | None = None) -> Any:
    """Instantiate one part of the configuration, at ``where``; what goes wrong is a sentence.

    A value out of its field's range is named by its key in the whole configuration, and so is
    what is not of the ``kind`` wanted.
    """
    found = _built(where, part)
    if kind is not None:
        checks.require(where, kind, found)
    return found


def _built(where: str, part: Any) -> Any:
    part = value(part)
    try:
        return instantiate(part, _convert_="all")
    except Exception as error:
        cause: BaseException = error
        place = where
        while cause.__cause__ is not None:
            inside = re.search(r"^full_key: (.+)$", str(cause), re.MULTILINE)
            place = f"{where}{_place(part, inside[1])}" if inside else place
            absent = not_found(cause)
            if absent is not None:
                raise Refused(f"{place} cannot be built: {absent}") from None
            cause = cause.__cause__
        if isinstance(cause, FieldRefused):
            raise cause.at(place) from None
        if isinstance(cause, Refused):
            raise cause from None
        said = str(cause).strip().partition("\n")[0] or type(cause).__name__
        raise Refused(f"{place} cannot be built: {checks.short(said, LONGEST)}") from error


def _place(part: Any, full_key: str) -> str:
    """Return a key within ``part`` as people write it; Hydra may write ``a0`` for ``a[0]``."""
    written, node = "", part
    for step in full_key.split("."):
        numbered = re.fullmatch(r"(\w*[a-z_])\[?(\d+)\]?", step)
        if isinstance(node, dict) and step not in node and numbered and numbered[1] in node:
            inside, place = node[numbered[1]], int(numbered[2])
            node = inside[place] if isinstance(inside, list) and place < len(inside) else None
            written += f".{numbered[1]}[{place}]"
        else:
            node = node.get(step) if isinstance(node, dict) else None
            written += f".{step}"
    return written


def content(cfg: DictConfig, strategies: Mapping[str, DictConfig]) -> dict[str, object]:
    """Return the configuration with the values of every strategy run, for the manifest.

    That is what a run is, not whether this process begins it or goes on with it.
    """
    whole = {name: part for name, part in plain(cfg).items() if name not in HOW}
    return {**whole, "strategies": {name: plain(part) for name, part in strategies.items()}}


def plain(cfg: DictConfig) -> dict[str, object]:
    """Return a configuration as dicts and lists."""
    container = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}
