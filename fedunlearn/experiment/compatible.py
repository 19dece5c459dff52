"""Which parts of an experiment do not go together, one rule a pair.

Each rule raises `Refused` with a sentence that names both settings and the remedy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING

from fedunlearn import data, history, local, models, unlearning
from fedunlearn.checks import Refused
from fedunlearn.results import RETRAIN, SHARED_TRAINING, is_reference

if TYPE_CHECKING:
    from fedunlearn.data import Federation
    from fedunlearn.history import Needs, Policy, Store
    from fedunlearn.local import LocalWork
    from fedunlearn.unlearning import Correction, Join, Request, Training, UnlearningStrategy


def budget_and_store(budget: float | None, store: Store) -> None:
    """Refuse a budget where nothing is on disk: there is no encoding to pick."""
    if budget is not None and not isinstance(store, history.OnDisk):
        raise Refused("history.budget picks an encoding: set history=auto or history=disk.")


def strategy_and_policy(name: str, needs: Needs, policy: Policy, cohort: int) -> None:
    """Refuse a policy that thins out the history of a strategy that needs it whole."""
    if needs.complete and leaves_out(policy, needs, cohort):
        raise Refused(
            f"strategy={name} needs every round and every update that it asks for, but "
            "the policy leaves some out. Set policy=needs, or choose another strategy."
        )


def strategy_and_training(name: str, strategy: UnlearningStrategy, training: Training) -> None:
    """Refuse methods whose mathematics does not cover how the federation trains."""
    if strategy.guarantee == "certified" and training.server != unlearning.FedAvg():
        raise Refused(
            f"strategy={name} certifies what it does for plain averages only, but "
            "training.server takes other steps. Set training=fedavg."
        )
    correction, needs = training.correction, strategy.needs
    if correction is None:
        return
    kind = type(correction).__name__
    if strategy.guarantee == "certified":
        raise Refused(
            f"strategy={name} certifies what it does for plain averages only, but "
            f"training.correction={kind} corrects clients' work. Set training=fedavg."
        )
    if needs.updates and (needs.remaining or not correction.averages):
        what = "sets against work that is not corrected" if correction.averages else "adds up"
        raise Refused(
            f"strategy={name} {what} what clients sent in training, which training.correction="
            f"{kind} does not allow: {_reason(correction)}. Choose another strategy, or set "
            "training=fedavg."
        )


def _reason(correction: Correction) -> str:
    if correction.averages:
        return "their updates hold the corrections of their day"
    return "the model is not the mean of what they sent"


def strategy_and_leavers(name: str, needs: Needs, *, cooperates: bool) -> None:
    """Refuse a strategy that asks leavers to work where they are gone."""
    if needs.leaver and not cooperates:
        raise Refused(
            f"strategy={name} lets those who leave work once more, but they are gone "
            "(withdrawal.cooperates=false). Choose a strategy that does not ask them, or "
            "set withdrawal.cooperates=true."
        )


def strategy_and_proxy(name: str, needs: Needs, proxy: float) -> None:
    """Refuse a strategy that needs records on the server where none are reserved."""
    if (needs.proxy or needs.verifies) and not proxy:
        records = "labelled" if needs.verifies else "unlabelled"
        raise Refused(
            f"strategy={name} needs {records} records on the server, but proxy=0 "
            "reserves none. Set proxy=0.1, say."
        )


def strategy_and_markers(name: str, needs: Needs, federation: Federation) -> None:
    """Refuse a strategy that verifies where who asks has no marker of which nothing may remain."""
    asked = data.erasures(federation.scenario.changes) if needs.verifies else ()
    for number, change in enumerate(asked, start=1):
        erased, sets = federation.holdings.erased(number), federation.verification_sets(number)
        marked = sum(set_name.startswith("triggered") for set_name in sets)
        if marked < len(erased):
            raise Refused(
                f"strategy={name} tests on the server whether the trigger of who asks still "
                f"works, but after round {change.after} somebody asks who planted none or keeps "
                "records with it. Set planting=backdoor, say, and withdrawal=client or planted, "
                "or choose another strategy."
            )


def strategy_and_requests(
    name: str, needs: Needs, policy: Policy, requests: Sequence[Request]
) -> None:
    """Refuse a request that comes before the first round that is kept."""
    every = policy.asks(needs).every
    for request in requests:
        if needs.updates and every > request.after:
            raise Refused(
                f"strategy={name} keeps one round in {every}, but the "
                f"request comes after round {request.after}: nothing would be stored. "
                "Set strategy.interval or policy.rounds lower, or training.rounds higher."
            )


def strategy_and_members(
    name: str,
    needs: Needs,
    requests: Sequence[Request],
    joins: Sequence[Join],
    clients: int,
) -> None:
    """Refuse what a strategy's mathematics does not cover: who joins late, all who ask at once."""
    if needs.statistics and joins:
        raise Refused(
            f"strategy={name} adds up what all clients send before round 1, but some join later "
            "(withdrawal.timeline). Choose another strategy."
        )
    for asked, absent in unlearning.absences(requests, joins):
        nobody = len(absent.union(asked.clients)) == clients
        if needs.updates and not needs.replaces and nobody and asked.scope != data.Everything():
            raise Refused(
                f"strategy={name} needs updates of clients who ask for nothing, but after round "
                f"{asked.after} everybody asks ({asked.scope.words}), and what they sent is "
                "all made from records that are to be forgotten. Choose another strategy, "
                "retrain, finetune or exact_rollback, say."
            )


def work_and_data(part: object, federation: Federation) -> None:
    """Refuse work, wherever it stands in ``part``, that the data set's records do not allow."""
    for work in _works(part):
        weights, classes = work.class_weights, len(federation.dataset.classes)
        if isinstance(weights, tuple) and len(weights) != classes:
            raise Refused(
                f"class_weights lists {len(weights)} numbers, but the data set has {classes} "
                "classes. List one for each, or set class_weights=balanced."
            )
        augmentation = work.augmentation
        if augmentation and isinstance(federation.scenario.model, models.PartlyFrozen):
            raise Refused(
                f"{type(augmentation).__name__} changes records anew in every round, but what the "
                "frozen part of the model makes of them is computed once. Set augmentation=null, "
                "or choose a model that trains whole."
            )
        misfit = augmentation and augmentation.misfit(federation.dataset.shape)
        if misfit:
            raise Refused(
                f"{type(augmentation).__name__} does not suit the data set: {misfit}. Set "
                "augmentation=null, or choose another."
            )


def optimizers_and_model(parts: Mapping[str, object], network: models.Network) -> None:
    """Refuse an optimizer that squares single records' gradients where torch has none of them."""
    for name, part in parts.items():
        for held in _held(part):
            if getattr(held, "squares", False) and network.alone:
                raise Refused(
                    f"{name} uses {type(held).__name__}, which squares the gradients of single "
                    "records, but torch cannot compute many at once for the model "
                    f"({network.alone}). Choose another strategy, training or model."
                )


def singles(name: str, strategy: UnlearningStrategy) -> Iterator[tuple[str, UnlearningStrategy]]:
    """Yield a strategy and all that it runs, each by what sentences call it."""
    yield name, strategy
    for inner in getattr(strategy, "strategies", ()):
        yield from singles(f"{name} ({type(inner).__name__})", inner)


def _held(part: object) -> Iterator[object]:
    """Yield ``part``, if it is a dataclass, and all that it, or each of many, is made of."""
    if isinstance(part, tuple):
        inside: Iterable[object] = part
    elif isinstance(part, Mapping):
        inside = part.values()
    elif is_dataclass(part) and not isinstance(part, type):
        yield part
        inside = (getattr(part, field.name) for field in fields(part))
    else:
        return
    for each in inside:
        yield from _held(each)


def _works(part: object) -> Iterator[LocalWork]:
    """Yield all work that is asked of anybody in a training, a strategy, a recovery or many."""
    return (each for each in _held(part) if isinstance(each, local.LocalWork))


def strategies_and_references(
    names: Collection[str],
    branches: Mapping[str, UnlearningStrategy],
    reference: UnlearningStrategy,
) -> None:
    """Refuse a strategy by a name of the common training or of the references.

    ``names`` are those of the strategies, ``branches`` all that is run, references included.
    """
    further = [name for name in names if name != RETRAIN and is_reference(name)]
    if SHARED_TRAINING in names or further or branches[RETRAIN] != reference:
        raise Refused(
            f"The result files keep the names {SHARED_TRAINING}, {RETRAIN} and {RETRAIN}-2, "
            f"{RETRAIN}-3, … for the common training and for the references; call the "
            "strategy something else."
        )


def leaves_out(policy: Policy, needs: Needs, cohort: int) -> bool:
    """Whether ``policy`` leaves out rounds that ``needs`` ask for, or clients of a ``cohort``."""
    rounds = policy.most < policy.window or policy.asks(needs).every > needs.every
    return rounds or policy.updates(cohort) < cohort
