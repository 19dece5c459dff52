"""What storage, transfer and work cost."""

from dataclasses import dataclass

from fedunlearn import checks
from fedunlearn.checks import NotNegative


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices in one currency; GB are 10^9 bytes."""

    currency: str = "$"
    """Sign of the currency."""
    gb_month: NotNegative = 0.023
    """Price of a GB kept for a month."""
    months: NotNegative = 12.0
    """Months for which what training stored is kept."""
    gb_sent: NotNegative = 0.09
    """Price of a GB sent, in either direction."""
    device_hour: NotNegative = 0.05
    """Price of an hour in which a client's device is busy."""
    server_hour: NotNegative = 0.5
    """Price of an hour in which the server trains."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)
