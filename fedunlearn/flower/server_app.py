"""The Flower ServerApp: who is who, then the job."""

from collections.abc import Callable

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedunlearn.flower.identity import Connection, handshake

Job = Callable[[Connection], None]
"""The experiment: it gets the way to reach the clients."""


def build_server_app(job: Job, clients: int) -> ServerApp:
    """Return the app that shakes hands with ``clients`` clients and then runs ``job``."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        job(handshake(grid, clients))

    return app
