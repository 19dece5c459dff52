"""Clients are not trusted: every reply is judged here before it is used, stored or charged.

A reply is good if it is the one answer to the message that its node was sent, holds what was asked
for in the form that was asked for, finite and no longer than `LONGEST`, and counts that may be.
What is wrong becomes the end of a sentence, and whoever asked begins it with the client's name.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from flwr.app import Array, ArrayRecord, Message, MetricRecord
from torch import Tensor

from fedunlearn.flower.arrays import TensorArray, lengths

LONGEST = 1e18
"""The greatest Euclidean length of an array in a reply.

The squares of hundreds of such lengths still have a sum in float32, whose greatest number is
3.4e38: no mean and no norm overflows, so what is finite stays finite.
"""

MOST_RECORDS = 10**9
"""The most records that a client may say it has."""

MOST_SAMPLES = 10**15
"""The most records that a client may say it has worked through in one round, epochs counted."""

LONGEST_WORK = 1e9
"""The most seconds that a client may say it has worked."""

EXAMPLES = "num-examples"
"""The metric that weighs a client."""


NOT_FINITE = "holds numbers that are not finite"
"""What is said of an array with nan or infinity."""


TOO_LONG = f"is longer than {LONGEST:g}, beyond which means and norms overflow"
"""What is said of a finite array that is longer than `LONGEST`."""


class BadReply(ValueError):
    """A reply that cannot be used; the text, such as ``its weights are missing``, says why."""


@dataclass(frozen=True, slots=True)
class Form:
    """What an array must be."""

    shape: tuple[int, ...]
    dtype: str
    """As numpy and torch name it, such as ``float32``."""
    or_dtype: str = ""
    """Another type that will do: an app's own, where a strategy sends it a longer one."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a good reply holds."""

    arrays: Mapping[str, Form] = field(default_factory=dict)
    """All arrays, by name; empty: none is looked at."""
    examples: bool = True
    """Whether the reply must say how many records the client has."""
    weights: tuple[str, ...] = ()
    """Metrics that weigh clients besides, which must be above 0 and at most `MOST_RECORDS`."""
    work: bool = False
    """Whether the reply must say how many records were worked through, and for how long."""
    diverging: bool = False
    """Whether arrays may be what no arrays may be, if those of all who answer are: what a strategy
    makes diverge is measured."""
    unchanged: Mapping[str, Tensor] = field(default_factory=dict)
    """Arrays that must come back as they were sent."""
    same_metrics: bool = False
    """Whether all replies must have metrics of the same names, as Flower's own strategies ask."""
    fault: Callable[["Reply"], str] = lambda reply: ""
    """Returns what else is wrong with a reply of the right form, finite and not too long."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A good reply."""

    message: Message
    arrays: Mapping[str, Tensor]
    """In the order of `Wanted.arrays`; they may be shared, so do not change them."""
    examples: int
    """Records of the client; 0 where it need not say."""
    samples: int
    """Records worked through; 0 where it does not say."""
    seconds: float
    """Time at work; nan where it does not say."""

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers in its arrays, without any header."""
        return sum(tensor.nbytes for tensor in self.arrays.values())


@dataclass(frozen=True, slots=True)
class Judged:
    """Good replies, and what was wrong elsewhere: each node that was asked is in one of the two."""

    good: dict[int, Reply]
    wrong: dict[int, str]
    """The end of a sentence that begins with the client's name."""


def judge(
    messages: Sequence[Message],
    answers: Iterable[Message],
    wanted: Wanted,
    timeout: float | None = None,
    also: Callable[[int, Message], None] = lambda node, reply: None,
) -> Judged:
    """Hold ``answers`` to the ``messages`` that were sent, one a node, and to what is ``wanted``.

    ``also`` raises `BadReply` for what else is wrong with the reply of a node. ``timeout``, in
    seconds, is only told of.
    """
    answered, wrong = paired(messages, answers, timeout)
    good: dict[int, Reply] = {}
    for node, message in answered.items():
        try:
            good[node] = _read(message, wanted)
            also(node, message)
        except BadReply as error:
            wrong[node] = unusable(error)
    if wanted.same_metrics:
        wrong |= _odd_ones_out({node: reply.message for node, reply in good.items()})
    beyond: dict[int, str] = {}
    for name in wanted.arrays:
        beyond |= _overlong(name, {node: reply.arrays[name] for node, reply in good.items()})
    if not wanted.diverging or len(beyond) < len(good):
        wrong |= beyond
    for node, reply in good.items():
        fault = "" if node in wrong else wanted.fault(reply)
        if fault:
            wrong[node] = unusable(fault)
    return Judged({node: reply for node, reply in good.items() if node not in wrong}, wrong)


def paired(
    messages: Sequence[Message], answers: Iterable[Message], timeout: float | None = None
) -> tuple[dict[int, Message], dict[int, str]]:
    """Return the one answer to each message by node, and what is wrong with other nodes' answers.

    An answer to no message of these counts for nobody.
    """
    to = {message.metadata.message_id: message.metadata.dst_node_id for message in messages}
    by_node: dict[int, list[Message]] = defaultdict(list)
    for answer in answers:
        node = to.get(answer.metadata.reply_to_message_id)
        if node is not None:
            by_node[node].append(answer)
    limit = "" if timeout is None else f" within {timeout:g} seconds"
    good: dict[int, Message] = {}
    wrong: dict[int, str] = {}
    for node in to.values():
        replies = by_node[node]
        if not replies:
            wrong[node] = f"did not answer{limit}."
        elif len(replies) > 1:
            wrong[node] = f"answered {len(replies)} times."
        elif replies[0].metadata.src_node_id != node:
            wrong[node] = "answered in the name of another node."
        elif replies[0].has_error():
            wrong[node] = f"failed: {replies[0].error.reason}"
        else:
            good[node] = replies[0]
    return good, wrong


def unusable(error: object) -> str:
    """Return the end of a sentence about a reply that is `BadReply`."""
    return f"sent a reply that cannot be used: {error}."


def number(metrics: MetricRecord, name: str) -> float:
    """Return a metric that is one number; raise `BadReply` otherwise."""
    if name not in metrics:
        raise BadReply(f"its metrics hold no {name}")
    value = metrics[name]
    if not isinstance(value, int | float):
        raise BadReply(f"its {name} is {value}, not one number")
    return value


def whole(metrics: MetricRecord, name: str, least: int, most: int) -> int:
    """Return a metric that is a whole number within bounds; raise `BadReply` otherwise."""
    value = number(metrics, name)
    if not least <= value <= most or value != int(value):
        raise BadReply(f"its {name} is {value}, no whole number from {least} to {most:,}")
    return int(value)


def _read(message: Message, wanted: Wanted) -> Reply:
    """Take out what is wanted; raise `BadReply` for what is missing or has another form."""
    records = list(message.content.values())
    metrics = [record for record in records if isinstance(record, MetricRecord)]
    if len(metrics) != 1:
        raise BadReply(f"it holds {len(metrics)} MetricRecords, not one")
    told = metrics[0]
    examples, samples, seconds = 0, 0, math.nan
    if wanted.examples or EXAMPLES in told:
        examples = whole(told, EXAMPLES, 1, MOST_RECORDS)
    for name in wanted.weights:
        if not 0 < number(told, name) <= MOST_RECORDS:
            raise BadReply(f"its {name} is {told[name]}, not above 0 and at most {MOST_RECORDS:,}")
    if wanted.work:
        samples = whole(told, "samples", 0, MOST_SAMPLES)
    if wanted.work or "seconds" in told:
        seconds = number(told, "seconds")
        if not (0 <= seconds <= LONGEST_WORK):
            raise BadReply(f"its seconds are {seconds}, not from 0 to {LONGEST_WORK:g}")
    arrays: Mapping[str, Tensor] = {}
    if wanted.arrays:
        held = [record for record in records if isinstance(record, ArrayRecord)]
        if len(held) != 1:
            raise BadReply(f"it holds {len(held)} ArrayRecords, not one")
        arrays = _tensors(held[0], wanted.arrays)
        for name, constant in wanted.unchanged.items():
            if not torch.equal(arrays[name], constant):
                raise BadReply(
                    f"it changed the array {name}, which is {constant.dtype}: only arrays of "
                    "floating point are trained, so no method could unlearn it. Leave it out of "
                    "what is sent, or send it back as it came"
                )
    return Reply(message, arrays, examples, samples, seconds)


def _tensors(record: ArrayRecord, wanted: Mapping[str, Form]) -> dict[str, Tensor]:
    names = record.keys()
    if names != wanted.keys():
        missing, odd = sorted(wanted.keys() - names), sorted(names - wanted.keys())
        parts = [f"the array {name} is missing" for name in missing]
        raise BadReply(" and ".join([*parts, *(f"nobody asked for the array {n}" for n in odd)]))
    return {name: _tensor(name, record[name], form) for name, form in wanted.items()}


def _tensor(name: str, array: Array, form: Form) -> Tensor:
    """Read an array, which must say that it is what it should be, and be so."""
    _require_form(name, Form(tuple(array.shape), array.dtype), form)
    if isinstance(array, TensorArray):
        return array.tensor
    try:
        tensor = torch.from_numpy(array.numpy())
    except Exception as error:  # whatever numpy finds in bytes that somebody else wrote
        raise BadReply(f"the array {name} cannot be read ({error})") from None
    _require_form(name, form_of(tensor), form)
    return tensor


def form_of(tensor: Tensor) -> Form:
    """Return what a tensor is."""
    return Form(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))


def _require_form(name: str, sent: Form, form: Form) -> None:
    if sent.shape != form.shape:
        raise BadReply(f"the array {name} has shape {sent.shape}, not {form.shape}")
    if sent.dtype not in (form.dtype, form.or_dtype):
        raise BadReply(f"the array {name} is {sent.dtype}, not {form.dtype}")


def _overlong(name: str, arrays: Mapping[int, Tensor]) -> dict[int, str]:
    """Return what is wrong with arrays of one name, which are all of one form, by node."""
    wrong: dict[int, str] = {}
    for node, length in zip(arrays, lengths(list(arrays.values())).tolist(), strict=True):
        if not length <= LONGEST:  # nan as well
            finite = bool(arrays[node].isfinite().all())
            why = TOO_LONG if finite else NOT_FINITE
            wrong[node] = unusable(f"the array {name} {why}")
    return wrong


def _odd_ones_out(replies: Mapping[int, Message]) -> dict[int, str]:
    """Return what is wrong with replies whose records or metrics are named unlike most others'."""
    names = {node: _names(reply) for node, reply in replies.items()}
    usual = Counter(names.values()).most_common(1)
    return {
        node: unusable(f"it holds {', '.join(held)}, and most others {', '.join(usual[0][0])}")
        for node, held in names.items()
        if held != usual[0][0]
    }


def _names(reply: Message) -> tuple[str, ...]:
    names = [name for name, _ in reply.content.items()]
    for metrics in reply.content.metric_records.values():
        for name, value in sorted(metrics.items()):
            names.append(f"{name} ({len(value)} numbers)" if isinstance(value, list) else name)
    return tuple(names)
