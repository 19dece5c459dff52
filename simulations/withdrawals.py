"""Who asks for what, who joins, and when, as a configuration says it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from fedunlearn import checks, data, unlearning
from fedunlearn.checks import Refused

KEYS = {"clients", "after", "scope", "timeline", "stream", "cooperates"}
STREAM_KEYS = {"arrivals", "policy", "busy"}
ENTRY = (
    "{after: round, clients: [ids]} with a scope or without, {after: round, join: [ids]} with "
    "a scope or others: true, or {after: round, cancel: [ids]}"
)
SCOPES = "everything, planted, {share: 0.2} or {labels: [7]}"
POLICIES = "immediate, {every: 5}, {batch: 10} or {deadline: 3}"
ALL = "all"

Build = Callable[[str, Mapping[str, Any]], Any]
"""Makes the part at a key of the configuration, which has a ``_target_``."""


class NotBuilt(Exception):
    """A part of the withdrawal is of a user's own, and is not made yet."""


class Timeline(NamedTuple):
    """What happens in a withdrawal."""

    requests: tuple[unlearning.Request, ...]
    joins: tuple[unlearning.Join, ...]


@dataclass(frozen=True)
class Reader:
    """Reads the timeline of a federation of so many clients; raises `NotBuilt` for own parts."""

    clients: int
    rounds: int
    names: Sequence[str] = ()
    """Of the clients' owners, where they have any."""
    build: Build | None = None
    """Makes parts of a user's own; None: they are not made here."""

    def read(self, withdrawal: DictConfig) -> Timeline:
        """Read ``timeline`` and ``stream`` if there are any, else ``clients`` after ``after``.

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
        streamed = self._stream(value(withdrawal.stream), scope)
        if withdrawal.stream is not None:
            for key in ("clients", "after"):
                if withdrawal[key] is not None:
                    raise Refused(
                        f"withdrawal.{key} must be null where there is a stream, which says who "
                        "asks and when. Other requests and joins stand in withdrawal.timeline."
                    )
            entries = entries or []
        if entries is None:
            after = self.rounds if withdrawal.after is None else withdrawal.after
            entries = [{"after": after, "clients": value(withdrawal.clients)}]
        requests, joins = list[unlearning.Request](), list[unlearning.Join]()
        cancels = list[unlearning.Cancel]()
        for entry in entries:
            kind = _kind(entry)
            clients = self._clients(entry[kind], kind)
            chosen = self._scope(entry.get("scope", scope if kind == "clients" else "everything"))
            if kind == "clients":
                checks.whole("withdrawal.after", entry["after"])
                requests.append(unlearning.Request(clients, entry["after"], chosen))
            elif kind == "cancel":
                checks.whole("after of a cancel", entry["after"], at_least=0)
                cancels.append(unlearning.Cancel(clients, entry["after"]))
            else:
                others = entry.get("others", False)
                checks.whole("after of a join", entry["after"], at_least=0)
                checks.require("others of a join", checks.PLAIN[bool], others)
                joins.append(unlearning.Join(clients, entry["after"], chosen, others))
        asked = unlearning.without_cancelled((*requests, *streamed), cancels)
        return Timeline(asked, tuple(joins))

    def _stream(self, stream: Any, scope: Any) -> tuple[unlearning.Request, ...]:
        """Return the requests of a stream; none where there is no stream."""
        if stream is None:
            return ()
        if not isinstance(stream, dict) or set(stream) != STREAM_KEYS:
            raise Refused(
                "withdrawal.stream must be null or {arrivals: {_target_: class}, policy: "
                f"immediate, busy: 0}}, not {checks.shown(stream)}."
            )
        checks.whole("withdrawal.stream.busy", stream["busy"], at_least=0)
        where = "withdrawal.stream.arrivals"
        if not isinstance(stream["arrivals"], dict) or "_target_" not in stream["arrivals"]:
            raise Refused(
                f"{where} must be a part with a _target_, such as fedunlearn.unlearning.Poisson, "
                f"not {checks.shown(stream['arrivals'])}."
            )
        policy, arrivals = self._policy(stream["policy"]), self._own(where, stream["arrivals"])
        checks.require(where, checks.Part(unlearning.Arrivals), arrivals)
        drawn = arrivals.drawn(self.clients, self.rounds, self.names)
        if not drawn:
            raise Refused(
                f"{where} bring no request within {self.rounds} rounds. Let more come, or raise "
                "training.rounds."
            )
        return unlearning.batched(drawn, policy, self._scope(scope), self.rounds, stream["busy"])

    def _policy(self, policy: Any) -> unlearning.Batching:
        """Return the policy that a stream names."""
        where = "withdrawal.stream.policy"
        match policy:
            case "immediate":
                return unlearning.Immediate()
            case {"every": rounds, **more} if not more:
                checks.whole(f"{where}.every", rounds)
                return unlearning.EveryRounds(rounds)
            case {"batch": size, **more} if not more:
                checks.whole(f"{where}.batch", size)
                return unlearning.InBatches(size)
            case {"deadline": rounds, **more} if not more:
                checks.number(f"{where}.deadline", rounds, at_least=1)
                return unlearning.ByDeadline(rounds)
            case {"_target_": str(), **_more}:
                made: unlearning.Batching = self._own(where, policy)
                checks.require(where, checks.Part(unlearning.Batching), made)
                return made
            case _:
                raise Refused(f"{where} must be {POLICIES}, not {checks.shown(policy)}.")

    def _own(self, where: str, part: Mapping[str, Any]) -> Any:
        """Make a part with a ``_target_``; raise `NotBuilt` where that is for later."""
        if self.build is None:
            raise NotBuilt
        return self.build(where, part)

    def _clients(self, asking: object, kind: str) -> frozenset[int]:
        """Return who an entry names."""
        where = f"withdrawal.{'clients' if kind == 'clients' else f'timeline: {kind}'}"
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
                checks.number("withdrawal.scope.share", share, at_least=0, at_most=1)
                return data.RandomShare(share)
            case {"labels": labels, **more} if not more:
                listed = labels if isinstance(labels, list) else [labels]
                for label in listed:
                    checks.whole("Each of withdrawal.scope.labels", label, at_least=0)
                return data.WithLabels(tuple(listed))
            case {"_target_": str(), **_more}:
                made: data.Scope = self._own("withdrawal.scope", scope)
                checks.require("withdrawal.scope", checks.Part(data.Scope), made)
                return made
            case _:
                raise Refused(f"withdrawal.scope must be {SCOPES}, not {checks.shown(scope)}.")


def _kind(entry: object) -> str:
    """Return whether an entry names ``clients`` who ask, who ``join`` or who ``cancel``."""
    known = {"clients": {"scope"}, "join": {"scope", "others"}, "cancel": set[str]()}
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


def fields(part: Any) -> dict[Any, Any]:
    """Return a part of a configuration as a dict; empty for what is none, which others refuse."""
    plain = value(part)
    return plain if isinstance(plain, dict) else {}


def value(part: Any) -> Any:
    """Return a part of a configuration as plain dicts, lists and values."""
    return OmegaConf.to_container(part, resolve=True) if OmegaConf.is_config(part) else part
