"""What storage, transfer and work cost."""

from dataclasses import dataclass

from fedunlearn import checks


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices in one currency; GB are 10^9 bytes."""

    currency: str = "$"
    gb_month: float = 0.023
    """A GB kept for a month."""
    months: float = 12.0
    """How long the server keeps what training stored."""
    gb_sent: float = 0.09
    """A GB sent, in either direction."""
    device_hour: float = 0.05
    """An hour in which a client's device is busy with the federation."""
    server_hour: float = 0.5
    """An hour in which the server trains."""

    def __post_init__(self) -> None:
        """Raise `Refused` for negative prices."""
        for name in ("gb_month", "months", "gb_sent", "device_hour", "server_hour"):
            checks.number(f"devices.prices.{name}", getattr(self, name), at_least=0)
