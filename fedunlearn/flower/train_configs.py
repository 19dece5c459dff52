"""What training messages are configured with, round by round."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

from flwr.app import ConfigRecord, ConfigRecordValues


@dataclass
class TrainConfigs:
    """The config before each round: Flower hands one through all, and strategies write into it.

    Rounds that are run again begin from the config as it was before them.
    """

    before: dict[int, Mapping[str, ConfigRecordValues]] = field(default_factory=dict)

    @classmethod
    def of(cls, config: ConfigRecord) -> "TrainConfigs":
        """Return the configs of a run that begins with ``config``, which stays as it is."""
        configs = cls()
        configs.note(1, config)
        return configs

    def note(self, round: int, config: ConfigRecord) -> None:
        """Remember what ``config`` is before ``round``."""
        self.before[round] = copy.deepcopy(dict(config))

    def at(self, round: int) -> ConfigRecord:
        """Return the config before ``round``, or before the last one known up to it."""
        known = max(number for number in self.before if number <= round)
        return ConfigRecord(copy.deepcopy(dict(self.before[known])))
