"""What a run would cost outside the simulator: time, bytes, money, and when a strategy pays off."""

from fedunlearn.costing.break_even import break_even, requests_needed
from fedunlearn.costing.devices import Devices, Kind, Server
from fedunlearn.costing.distributions import Constant, Lognormal
from fedunlearn.costing.prices import Prices
from fedunlearn.costing.table import costs_table
from fedunlearn.costing.times import time_to_forget

__all__ = [
    "Constant",
    "Devices",
    "Kind",
    "Lognormal",
    "Prices",
    "Server",
    "break_even",
    "costs_table",
    "requests_needed",
    "time_to_forget",
]
