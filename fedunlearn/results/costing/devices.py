"""The clients' devices and the network: each client's are a function of seed, draw and client."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fedunlearn import checks, randomness
from fedunlearn.checks import Count, NotNegative, Positive
from fedunlearn.randomness import Stream
from fedunlearn.results.costing.distributions import Distribution, Floats
from fedunlearn.results.costing.prices import Prices

Ints = npt.NDArray[np.integer[Any]]

QUANTITIES = ("download", "upload", "latency", "speed")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of device and its connection; the four quantities are drawn independently."""

    share: NotNegative = 1.0
    """Share of all clients, relative to the shares of other kinds."""
    download: Distribution | None = None
    """Bit/s from the server; None: unlimited."""
    upload: Distribution | None = None
    """Bit/s to the server; None: unlimited."""
    latency: Distribution | None = None
    """Seconds that an exchange waits beside transfer and work; None: none."""
    speed: Distribution | None = None
    """Speed relative to ``pace``; None: 1."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)


@dataclass(frozen=True, slots=True)
class Server:
    """The server's connection, which the clients of an exchange share, and its own speed."""

    download: Positive | None = None
    """Bit/s that it receives from all clients; None: unlimited."""
    upload: Positive | None = None
    """Bit/s that it sends to all clients; None: unlimited."""
    speed: Positive = 1.0
    """Speed relative to ``pace``."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)


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
    """Kinds of devices by name."""
    server: Server = field(default_factory=Server)
    """The server's connection and speed."""
    pace: Positive | None = None
    """Records/s of a device of speed 1; None: as the simulator measured."""
    draws: Count = 20
    """How often all devices are drawn."""
    prices: Prices = field(default_factory=Prices)
    """What storage, transfer and work cost; assumed, so put in your own."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)
        if not sum(kind.share for kind in self.kinds.values()) > 0:
            raise checks.field_refused(
                self, "kinds", " must name at least one kind with a share above 0."
            )

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
