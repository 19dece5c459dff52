"""A Flower Grid in this process: messages reach the ClientApp by a function call."""

import contextlib
import gc
import itertools
import logging
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, wait

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedunlearn.flower.client_state import keeps_state
from fedunlearn.flower.identity import IDENTITY, partition_of
from fedunlearn.threads import pool

log = logging.getLogger(__name__)

CLIENT_ERROR = 2
"""Flower's code for an exception in a ClientApp."""

Together = Callable[[Sequence[Message], Sequence[int]], list[Message]]
"""Answers one round's messages to several clients, given by their partition ids."""

FIRST_NODE = 1_000
"""Node ids start here, so that nobody takes them for partition ids."""


class InProcessGrid(Grid):
    """Runs each message's client on a thread of its own, with one torch thread.

    Messages are shared, not copied: a ClientApp must not change what it receives, which Flower
    asks of it anyway. Whatever a client raises becomes an error reply with its traceback, also what
    would end a process, such as SystemExit.
    """

    def __init__(
        self, app: ClientApp, clients: int, workers: int, together: Together | None = None
    ) -> None:
        """Play ``clients`` clients by ``app`` on ``workers`` threads.

        ``together``, where it is given, answers all ``train`` messages of a round as one batch, and
        all ``query.sums`` of one question, in the thread that sends them: waking another one takes
        a tenth of a small round. If that fails, the clients work one by one, so that the error
        names its client.
        """
        # Flower stamps every message with the identity of the process that makes it.
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
        self._app = app
        self._contexts = {
            FIRST_NODE + client: Context(
                run_id=1,
                node_id=FIRST_NODE + client,
                node_config={IDENTITY: client, "num-partitions": clients},
                state=RecordDict(),
                run_config={},
            )
            for client in range(clients)
        }
        self._together = together
        self._threads = workers if together is None else 1
        self._pool = pool(self._threads)
        self._numbers = itertools.count()
        self._working: list[Future[None]] = []
        self._waiting: deque[Message] = deque()
        self._replies: dict[str, tuple[float, Message]] = {}
        # The collector would look through torch's objects again and again, for every few thousand
        # messages; none of them becomes garbage while clients train.
        gc.freeze()

    @property
    def keeps_state(self) -> bool:
        """Whether a client has kept state that it cannot go back from (see `client_state`)."""
        return any(keeps_state(context.state) for context in self._contexts.values())

    def close(self) -> None:
        """End the threads, and let the collector look at everything again."""
        self._pool.shutdown(cancel_futures=True)
        gc.unfreeze()

    def set_run(self, run: Run) -> None:
        """Take no note: there is one run."""

    @property
    def run(self) -> Run:
        """The one run."""
        return Run.create_empty(1)

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Create a message; Flower's own way today is to call Message."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return the node ids, which say nothing about partitions."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Hand messages to their clients; return ids to pull the replies with."""
        batch = list(messages)
        details = [message.metadata for message in batch]
        ids = [f"message-{next(self._numbers)}" for _ in batch]
        for metadata, message_id in zip(details, ids, strict=True):
            metadata.__dict__["_message_id"] = message_id
        kinds = {each.message_type for each in details}
        if self._together is not None and kinds in ({"train"}, {"query.sums"}):
            self._answer_together(batch)
            return ids
        self._hand_out(batch)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies, in the order of the ids; waits for them."""
        return self._pulled(message_ids, None)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Hand out messages; return the replies that are there after ``timeout`` seconds.

        No thread can be stopped: a client who is late works on, and what it answers is dropped.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        return self._pulled(self.push_messages(messages), deadline)

    def _pulled(self, message_ids: Iterable[str], deadline: float | None) -> list[Message]:
        """Wait for clients, until ``deadline`` if there is one; return what has come by then."""
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        done, late = wait(self._working, left)
        self._working.clear()
        for work in done:
            work.result()
        replies = [self._replies.pop(each) for each in message_ids if each in self._replies]
        if late:
            self._leave_behind()
        return [reply for at, reply in replies if deadline is None or at <= deadline]

    def _leave_behind(self) -> None:
        """Go on with other threads; what those that are late answer goes where nobody looks."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = pool(self._threads)
        self._waiting.clear()
        self._replies = dict(self._replies)

    def _hand_out(self, messages: Sequence[Message]) -> None:
        """Let threads take messages, one after another, until none is left."""
        self._waiting = deque(messages)
        for _ in range(min(self._threads, len(messages))):
            work = self._pool.submit(self._answer_each, self._waiting, self._replies)
            self._working.append(work)

    def _answer_each(
        self, waiting: deque[Message], replies: dict[str, tuple[float, Message]]
    ) -> None:
        """Take messages, which other threads take from as well, until none is left."""
        with contextlib.suppress(IndexError):
            while True:
                message = waiting.popleft()
                reply = self._answer(message)
                replies[message.metadata.message_id] = (time.monotonic(), reply)

    def _answer_together(self, messages: Sequence[Message]) -> None:
        """Answer as one batch; if that fails, one by one, so that the error names its client."""
        assert self._together is not None
        clients = [
            partition_of(self._contexts[message.metadata.dst_node_id]) for message in messages
        ]
        try:
            answers = self._together(messages, clients)
        except (Exception, SystemExit) as error:
            log.warning("Clients cannot train as one batch, so each trains by itself: %s", error)
            self._hand_out(messages)
        else:
            for message, answer in zip(messages, answers, strict=True):
                self._replies[message.metadata.message_id] = (time.monotonic(), answer)

    def _answer(self, message: Message) -> Message:
        try:
            reply = self._app(message, self._contexts[message.metadata.dst_node_id])
        except BaseException:  # in a thread of the pool, where Ctrl-C never comes
            return Message(Error(CLIENT_ERROR, traceback.format_exc()), reply_to=message)
        if isinstance(reply, Message):
            return reply
        wrong = f"It answered with {type(reply).__name__}, which is no Message."
        return Message(Error(CLIENT_ERROR, wrong), reply_to=message)
