"""What a row of a run is about, and what the files that belong to it are called."""

import re
from dataclasses import dataclass
from typing import Self

MODELS_FOLDER = "models"
"""Where models lie in a run's folder."""

_NAME = re.compile(r"seed(\d+)-(.+)-request(\d+)", re.DOTALL)


@dataclass(frozen=True, slots=True, order=True)
class Case:
    """One request as one strategy served it under one seed."""

    seed: int
    strategy: str
    """A strategy, a reference, or `SHARED_TRAINING` for what all of them start from."""
    request: int
    """From 1; 0 for what was there before the first one."""

    @classmethod
    def parse(cls, name: str) -> Self:
        """Return the case of this `name`; raises ValueError where no case is called so."""
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(f"{name!r} does not name a seed, a strategy and a request")
        seed, strategy, request = match.groups()
        return cls(int(seed), strategy, int(request))

    @property
    def name(self) -> str:
        """The name of its files, without their endings."""
        return f"seed{self.seed}-{self.strategy}-request{self.request}"

    @property
    def model_file(self) -> str:
        """Where the model after the request lies in the run's folder."""
        return f"{MODELS_FOLDER}/{self.name}.safetensors"

    @property
    def certificate_file(self) -> str:
        """Where the certificate's text lies in the run's folder."""
        return f"certificates/{self.name}.md"
