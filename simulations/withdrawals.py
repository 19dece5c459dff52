"""Who asks for what, who joins, and when, as a configuration says it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from fedunlearn import checks, data, unlearning
from fedunlearn.checks import Refused

KEYS = {"clients", "after", "scope", "timeline", "cooperates"}
ENTRY = (
    "{after: round, clients: [ids]} with a scope or without, or {after: round, join: [ids]} with "
    "a scope or others: true"
)
SCOPES = "everything, planted, {share: 0.2} or {labels: [7]}"
ALL = "all"


class Timeline(NamedTuple):
    """What happens in a withdrawal."""

    requests: tuple[unlearning.Request, ...]
    joins: tuple[unlearning.Join, ...]


@dataclass(frozen=True)
class Reader:
    """Reads the timeline of a federation of so many clients."""

    clients: int
    rounds: int
    names: Sequence[str] = ()
    """Of the clients' owners, where they have any."""
    own: Callable[[Mapping[str, Any]], data.Scope] | None = None
    """Makes a scope of a user's own, with a ``_target_``; None: it is not made here."""

    def read(self, withdrawal: DictConfig) -> Timeline:
        """Read ``timeline`` if there is one, else ``clients`` after round ``after``.

        Raises `Refused` for whatever in it cannot be.
        """
        for name in {str(key) for key in withdrawal} ^ KEYS:
            known = ", ".join(sorted(KEYS))
            raise Refused(f"withdrawal.{name} must be one of {known}, all of them.")
        entries, scope = value(withdrawal.timeline), value(withdrawal.scope)
        if entries is not None and not (isinstance(entries, list) and entries):
            raise Refused(
                "withdrawal.timeline must be null or a list of {after: round, clients: [ids]}, "
                f"not {checks.shown(entries)}."
            )
        if entries is None:
            after = self.rounds if withdrawal.after is None else withdrawal.after
            entries = [{"after": after, "clients": value(withdrawal.clients)}]
        requests, joins = list[unlearning.Request](), list[unlearning.Join]()
        for entry in entries:
            kind = _kind(entry)
            clients = self._clients(entry[kind], kind)
            chosen = self._scope(entry.get("scope", scope if kind == "clients" else "everything"))
            if kind == "clients":
                checks.whole("withdrawal.after", entry["after"])
                requests.append(unlearning.Request(clients, entry["after"], chosen))
            else:
                others = entry.get("others", False)
                checks.whole("after of a join", entry["after"], at_least=0)
                checks.require("others of a join", checks.PLAIN[bool], others)
                joins.append(unlearning.Join(clients, entry["after"], chosen, others))
        return Timeline(tuple(requests), tuple(joins))

    def _clients(self, asking: object, kind: str) -> frozenset[int]:
        """Return who an entry names."""
        where = f"withdrawal.{'clients' if kind == 'clients' else 'timeline: join'}"
        if asking == ALL and ALL not in self.names:
            return frozenset(range(self.clients))
        one = isinstance(asking, int) or bool(self.names and isinstance(asking, (str, float)))
        listed = [asking] if one else asking
        if not isinstance(listed, list):
            raise Refused(f"{where} must list client numbers, not {checks.shown(asking)}.")
        listed = [_numbered(client, self.names, where) for client in listed]
        if len(set(map(repr, listed))) < len(listed):
            raise Refused(f"{where} names a client twice: {checks.shown(listed)}.")
        for client in listed:
            checks.whole(f"Each of {where}", client, at_least=0)
        return frozenset(listed)

    def _scope(self, scope: Any) -> data.Scope:
        """Return the scope that an entry gives."""
        match scope:
            case "everything":
                return data.Everything()
            case "planted":
                return data.PlantedRecords()
            case {"share": share, **more} if not more:
                checks.require(
                    "withdrawal.scope.share", checks.Number(at_least=0, at_most=1), share
                )
                return data.RandomShare(share)
            case {"labels": labels, **more} if not more:
                listed = labels if isinstance(labels, list) else [labels]
                for label in listed:
                    checks.whole("Each of withdrawal.scope.labels", label, at_least=0)
                return data.WithLabels(tuple(listed))
            case {"_target_": str(), **_more}:
                return data.PlantedRecords() if self.own is None else self.own(scope)
            case _:
                raise Refused(f"withdrawal.scope must be {SCOPES}, not {checks.shown(scope)}.")


def _kind(entry: object) -> str:
    """Return whether an entry of a timeline names ``clients`` who ask or who ``join``."""
    known = {"clients": {"scope"}, "join": {"scope", "others"}}
    if isinstance(entry, dict):
        for kind, further in known.items():
            if {"after", kind} <= set(entry) <= {"after", kind, *further}:
                return kind
    raise Refused(f"Each entry of withdrawal.timeline is {ENTRY}, not {checks.shown(entry)}.")


def _numbered(client: object, names: Sequence[str], where: str) -> Any:
    """Return the number of the client whom somebody calls by its owner's name, 5.2 say."""
    if isinstance(client, float) and names:
        client = f"{client:g}"
    if not names or not isinstance(client, str):
        return client
    checks.member(where, client, names)
    return names.index(client)


def value(part: Any) -> Any:
    """Return a part of a configuration as plain dicts, lists and values."""
    return OmegaConf.to_container(part, resolve=True) if OmegaConf.is_config(part) else part
