"""What cannot be served for a plain Flower app is refused in a sentence before anybody trains."""

from flwr.serverapp import strategy as flower_strategies
from flwr.serverapp.strategy import FedXgbBagging, FedXgbCyclic, Strategy

from fedunlearn.checks import Refused
from fedunlearn.unlearning import UnlearningStrategy

PRIVATE = tuple(
    getattr(flower_strategies, name)
    for name in flower_strategies.__all__
    if name.startswith("DifferentialPrivacy")
)


def check_method(method: UnlearningStrategy) -> None:
    """Raise `Refused` for a method that declares what plain clients have not."""
    for wanted, what in (
        (method.needs.proxy, "unlabelled records on the server, and a Flower app has none there"),
        (method.needs.verifies, "a test of the leaver's marker, and a Flower app has none there"),
        (method.needs.statistics, "sums over records, which plain clients do not know to make"),
        (method.needs.masks, "to freeze parts of the model, and plain clients train all of it"),
        (method.needs.leaver, "the leavers to work once more, and plain clients are not asked"),
    ):
        if wanted:
            raise Refused(f"{type(method).__name__} needs {what}. Choose another method.")


def check_wrapped(strategy: Strategy) -> None:
    """Raise `Refused` for a strategy of Flower's that cannot be wrapped."""
    name = type(strategy).__name__
    if isinstance(strategy, PRIVATE):
        raise Refused(
            f"{name} cannot be wrapped: unlearning trains again, which its privacy budget does not "
            "count."
        )
    if isinstance(strategy, FedXgbBagging | FedXgbCyclic):
        raise Refused(
            f"{name} cannot be wrapped: its model is a list of trees that grows, as bytes, and no "
            "vector that methods could move. Start the app again without those who left."
        )


def check_remaining(strategy: Strategy, left: int) -> None:
    """Raise `Refused` where Flower's strategies would wait without end for nodes that left."""
    for name in ("min_available_nodes", "min_train_nodes", "min_evaluate_nodes"):
        wanted = getattr(strategy, name, 0)
        if wanted > left:
            raise Refused(
                f"{left} clients remain in the end, but {type(strategy).__name__} waits for "
                f"{name}={wanted}. Lower it, or let fewer clients leave."
            )
