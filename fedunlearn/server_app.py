"""The Flower ServerApp: learn who is who, then run the experiment."""

import time
from collections.abc import Callable

from flwr.app import Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

from fedunlearn.clients import ClientFailed, Connection
from fedunlearn.history import ClientId

SECONDS_TO_CONNECT = 120.0
"""How long nodes may take to register: Flower starts the ServerApp beside them, not after."""

Job = Callable[[Connection], None]
"""The experiment: it gets the way to reach the clients."""


def handshake(grid: Grid, clients: int) -> Connection:
    """Ask every node which data partition it holds; the clients are numbered by it.

    Flower draws node ids anew in every run, and only the client knows its partition.
    Raises `ClientFailed` unless partitions 0 … clients - 1 answer, each once.
    """
    messages = [Message(RecordDict(), node, "query") for node in wait_for(grid, clients)]
    nodes: dict[ClientId, int] = {}
    for reply in grid.send_and_receive(messages):
        if reply.has_error():
            raise ClientFailed(f"A client failed in the handshake: {reply.error.reason}")
        client = int(str(reply.content.metric_records["metrics"]["partition-id"]))
        if client in nodes:
            raise ClientFailed(f"Two nodes say that they hold partition {client}.")
        nodes[client] = reply.metadata.src_node_id
    if sorted(nodes) != list(range(clients)):
        raise ClientFailed(f"Expected clients 0 to {clients - 1}; these answered: {sorted(nodes)}.")
    return Connection(grid, dict(sorted(nodes.items())))


def wait_for(grid: Grid, count: int) -> list[int]:
    """Return the node ids once there are ``count`` of them, or those there are in the end."""
    deadline = time.monotonic() + SECONDS_TO_CONNECT
    while len(present := list(grid.get_node_ids())) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    return present


def server_app(job: Job, clients: int) -> ServerApp:
    """Return the app that shakes hands with ``clients`` clients and then runs ``job``."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        job(handshake(grid, clients))

    return app
