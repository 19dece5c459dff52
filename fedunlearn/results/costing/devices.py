"""The clients' devices and the network: each client's are a function of seed, draw and client."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fedunlearn import checks, randomness
from fedunlearn.checks import Refused
from fedunlearn.randomness import Stream
from fedunlearn.results.costing.distributions import Distribution, Floats
from fedunlearn.results.costing.prices import Prices

Ints = npt.NDArray[np.integer[Any]]

QUANTITIES = ("download", "upload", "latency", "speed")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of device and its connection; the four quantities are drawn independently."""

    share: float = 1.0
    """Of all clients, relative to the shares of the other kinds."""
    download: Distribution | None = None
    """Bit/s from the server; None: unlimited."""
    upload: Distribution | None = None
    """Bit/s to the server; None: unlimited."""
    latency: Distribution | None = None
    """Seconds that an exchange waits beside transfer and work; None: not at all."""
    speed: Distribution | None = None
    """Records that it trains on, relative to `Devices.pace`; None: 1."""

    def __post_init__(self) -> None:
        """Raise `Refused` for a negative share."""
        checks.number("share of a kind of devices", self.share, at_least=0)


@dataclass(frozen=True, slots=True)
class Server:
    """The server's connection, which the clients of an exchange share, and its own speed."""

    download: float | None = None
    """Bit/s that it receives; None: unlimited."""
    upload: float | None = None
    """Bit/s that it sends; None: unlimited."""
    speed: float = 1.0
    """As `Kind.speed`."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values that are not positive."""
        for name in ("download", "upload"):
            if getattr(self, name) is not None:
                checks.number(f"devices.server.{name}", getattr(self, name), above=0)
        checks.number("devices.server.speed", self.speed, above=0)


@dataclass(frozen=True, slots=True)
class Fleet:
    """The devices of n clients, each quantity [n]."""

    download: Floats
    upload: Floats
    latency: Floats
    speed: Floats


@dataclass(frozen=True)
class Devices:
    """Who takes part in a federation, as far as time and money are concerned."""

    kinds: Mapping[str, Kind] = field(default_factory=lambda: {"simulated": Kind()})
    server: Server = field(default_factory=Server)
    pace: float | None = None
    """Records per second of a device of speed 1; None: as the simulator measured for a strategy."""
    draws: int = 20
    """How often all devices are drawn."""
    prices: Prices = field(default_factory=Prices)

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        if not sum(kind.share for kind in self.kinds.values()) > 0:
            raise Refused("devices.kinds must name at least one kind with a share above 0.")
        if self.pace is not None:
            checks.number("devices.pace", self.pace, above=0)
        checks.whole("devices.draws", self.draws)

    def fleet(self, draw: int, seeds: Ints, clients: Ints) -> Fleet:
        """Draw the devices of ``clients`` [n] under ``seeds`` [n].

        Each is a function of ``(draw, seed, client)`` alone, so whoever else takes part changes
        nobody's device.
        """
        shares = np.empty((len(clients), 1 + len(QUANTITIES)))
        for seed in np.unique(seeds):
            here = seeds == seed
            most = int(clients[here].max())
            # The i-th row of a stream does not depend on how many are drawn after it.
            rng = randomness.rng(int(seed), Stream.DEVICES, draw)
            shares[here] = rng.random((most + 1, shares.shape[1]))[clients[here]]
        parts = np.cumsum([kind.share for kind in self.kinds.values()])
        which = np.searchsorted(parts / parts[-1], shares[:, 0], side="right")
        fleet = Fleet(*(np.full(len(clients), plain) for plain in (np.inf, np.inf, 0.0, 1.0)))
        for number, kind in enumerate(self.kinds.values()):
            these = which == number
            for column, quantity in enumerate(QUANTITIES, start=1):
                distribution: Distribution | None = getattr(kind, quantity)
                if distribution is not None:
                    getattr(fleet, quantity)[these] = distribution.at(shares[these, column])
        return fleet
