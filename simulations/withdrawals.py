"""Who leaves, and when, as a configuration says it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fedunlearn import checks, unlearning
from fedunlearn.checks import Refused


def requests(
    withdrawal: DictConfig, rounds: int, names: Sequence[str] = ()
) -> tuple[unlearning.Request, ...]:
    """Read the timeline: ``timeline`` if there is one, else ``clients`` after round ``after``.

    Clients go by their numbers, or by the ``names`` of their owners.
    """
    known = {"clients", "after", "timeline", "cooperates"}
    for name in {str(key) for key in withdrawal} ^ known:
        raise Refused(f"withdrawal.{name} must be one of {', '.join(sorted(known))}, all of them.")
    timeline = value(withdrawal.timeline)
    if timeline is not None and not (isinstance(timeline, list) and timeline):
        raise Refused(
            "withdrawal.timeline must be null or a list of {after: round, clients: [ids]}, not "
            f"{checks.shown(timeline)}."
        )
    if timeline is None:
        after = rounds if withdrawal.after is None else withdrawal.after
        timeline = [{"after": after, "clients": value(withdrawal.clients)}]
    planned = []
    for entry in timeline:
        if not isinstance(entry, dict) or set(entry) != {"after", "clients"}:
            raise Refused(
                "Each entry of withdrawal.timeline is {after: round, clients: [ids]}, not "
                f"{checks.shown(entry)}."
            )
        asking = entry["clients"]
        one = isinstance(asking, int) or bool(names and isinstance(asking, (str, float)))
        clients = [asking] if one else asking
        if not isinstance(clients, list):
            raise Refused(
                f"withdrawal.clients must list client numbers, not {checks.shown(asking)}."
            )
        clients = [_numbered(client, names) for client in clients]
        if len(set(map(repr, clients))) < len(clients):
            raise Refused(f"withdrawal.clients names a client twice: {checks.shown(clients)}.")
        for client in clients:
            checks.whole("Each of withdrawal.clients", client, at_least=0)
        checks.whole("withdrawal.after", entry["after"])
        planned.append(unlearning.Request(frozenset(clients), entry["after"]))
    return tuple(planned)


def _numbered(client: object, names: Sequence[str]) -> object:
    """Return the number of the client whom somebody calls by its owner's name, 5.2 say."""
    if isinstance(client, float) and names:
        client = f"{client:g}"
    if not names or not isinstance(client, str):
        return client
    checks.member("withdrawal.clients", client, names)
    return names.index(client)


def value(part: Any) -> Any:
    """Return a part of a configuration as plain dicts, lists and values."""
    return OmegaConf.to_container(part, resolve=True) if OmegaConf.is_config(part) else part
