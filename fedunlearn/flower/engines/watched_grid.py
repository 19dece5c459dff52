"""A Grid of Flower's that tells a dead process from a failing client, and never waits in vain."""

import math
import re
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flwr.app import Error, Message
from flwr.serverapp import Grid

from fedunlearn.data import ClientId
from fedunlearn.flower.in_process_grid import CLIENT_ERROR
from fedunlearn.unlearning import ClientFailed

OWN_TRACEBACK = re.compile(
    r"ClientAppActor\.run\(\)[^\n]*\n[ ^]*\n(.*)\n\nThe above exception was the direct cause", re.S
)
"""A client's own error within Ray's text, which ends with an exception of Flower's."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A Grid that waits no longer once the simulation is over, or a process of Ray's has died.

    Flower hands out a dead process again and again, and every client that it is to play fails:
    that is no failure of a client, of which `Training` may tolerate some.
    """

    grid: Grid
    over: threading.Event
    """Set when the simulation has ended."""
    players: Mapping[int, ClientId]
    """Who plays which client, by node."""

    def __getattr__(self, name: str) -> Any:
        """Do all else as the grid does."""
        return getattr(self.grid, name)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Return the replies as they are judged; raise `ClientFailed` where none can come."""
        deadline = time.monotonic() + (math.inf if timeout is None else timeout)
        waiting = set(self.grid.push_messages(messages))
        replies: list[Message] = []
        while waiting and time.monotonic() < deadline:
            if self.over.wait(0.1):
                raise ClientFailed("The Ray simulation ended while clients were at work.")
            new = sorted(self.grid.pull_messages(waiting), key=lambda m: m.metadata.created_at)
            replies += map(self._judged, new)
            waiting -= {reply.metadata.reply_to_message_id for reply in new}
        return replies

    def _judged(self, reply: Message) -> Message:
        """Return the reply, a client's error made readable; raise `ClientFailed` for Ray's."""
        if not reply.has_error():
            return reply
        reason = str(reply.error.reason).removesuffix("'>")
        if reply.error.code == CLIENT_ERROR:
            traceback = OWN_TRACEBACK.search(reason)
            reply.error = Error(
                CLIENT_ERROR, f"Traceback:\n{traceback[1]}" if traceback else reason
            )
            return reply
        client = self.players.get(reply.metadata.src_node_id, "(not yet known)")
        raise ClientFailed(
            f"Client {client} failed, and with it the run: Ray has no answer from the process in "
            f"which it worked. {reason.splitlines()[-1]}"
        )
