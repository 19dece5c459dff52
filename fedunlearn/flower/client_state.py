"""Clients that keep state between rounds: what they keep goes back with the rounds run again.

An app puts the mod in, ``ClientApp(mods=[rewinding])``; the server cannot reach ``context.state``.
Without it, whoever trains again from the first model would start from state that the leavers
helped to make.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, cast

from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp.typing import ClientAppCallable

REWINDS = "state-rewinds"
"""The key of a message's config that lists the rounds to which training went back, in order."""

REWINDING = "rewinds-state"
"""The metric by which a client tells that it follows."""

_SEEN, _KEPT = "rewinding.seen", "rewinding.before."

State = dict[str, Any]


def rewinding(message: Message, context: Context, answer: ClientAppCallable) -> Message:
    """Keep the state before each round, and go back to it where a message says so (a mod).

    The state before round n is that of the first round from n on in which the client trained. The
    app sees its own records in ``context.state``, and nothing else; all that it kept costs memory.
    """
    state, kept, seen = _read(context.state)
    config: Mapping[str, Any] = next(iter(message.content.config_records.values()), {})
    rewinds = cast(Sequence[int], config.get(REWINDS, ()))
    for first in rewinds[seen:]:
        later = [number for number in sorted(kept) if number >= first]
        state = kept[later[0]] if later else state
        kept = {number: then for number, then in kept.items() if number < first}
    training = message.metadata.message_type.startswith("train")
    if training:
        kept[int(config["server-round"])] = copy.deepcopy(state)
    _write(context.state, state)
    try:
        reply = answer(message, context)
    finally:
        _write(context.state, _joined(dict(context.state.items()), kept, max(seen, len(rewinds))))
    if training and not reply.has_error():
        for metrics in reply.content.metric_records.values():
            metrics[REWINDING] = 1
    return reply


def told(reply: Message) -> bool:
    """Whether a client follows `rewinding`; what tells it is taken out of the reply."""
    if reply.has_error():
        return False
    found = [
        metrics.pop(REWINDING, None)
        for metrics in reply.content.metric_records.values()
        if isinstance(metrics, MetricRecord)
    ]
    return any(found)


def keeps_state(state: RecordDict) -> bool:
    """Whether a client has kept something of its own in its state, without `rewinding`."""
    return bool(state) and _SEEN not in state


def _read(held: RecordDict) -> tuple[State, dict[int, State], int]:
    """Return the app's own state, that before each kept round, and how many rewinds were made."""
    own: State = {}
    kept: dict[int, State] = {}
    seen = 0
    for name, record in held.items():
        if name == _SEEN:
            noted = cast(ConfigRecord, record)
            seen = cast(int, noted["rewinds"])
            kept |= {number: {} for number in cast(list[int], noted["rounds"])}
    for name, record in held.items():
        if name.startswith(_KEPT):
            number, _, original = name.removeprefix(_KEPT).partition(".")
            kept[int(number)][original] = record
        elif name != _SEEN:
            own[name] = record
    return own, kept, seen


def _joined(own: State, kept: Mapping[int, State], seen: int) -> State:
    before = {
        f"{_KEPT}{number}.{name}": record
        for number, state in kept.items()
        for name, record in state.items()
    }
    return {**own, **before, _SEEN: ConfigRecord({"rewinds": seen, "rounds": sorted(kept)})}


def _write(held: RecordDict, content: State) -> None:
    for name in list(held):
        del held[name]
    for name, record in content.items():
        held[name] = record
