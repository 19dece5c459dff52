"""One axis for a whole run: how many models each branch has seen."""

from dataclasses import dataclass, field

from fedunlearn.results import SHARED_TRAINING
from fedunlearn.unlearning import Moment


@dataclass(slots=True)
class Branch:
    """Where one strategy of one seed stands."""

    latest: int = 0
    """The global round of its latest model."""
    trained: int = 0
    """Training rounds done."""
    began: dict[tuple[int, str], int] = field(default_factory=dict)
    """The global round before round 1 of each stage, by request and phase."""


@dataclass(frozen=True, slots=True)
class RoundNumbers:
    """Turns a model's moment into the number of its round since the run began.

        global round = rounds of all stages before this one + round

    Stages are training, unlearning and recovery, request after request. Every strategy goes on
    from where the shared training of its seed ended. Stages must begin in their order; what is
    measured later of a model finds its round again.
    """

    branches: dict[tuple[int, str], Branch] = field(default_factory=dict)

    def number(self, seed: int, strategy: str, moment: Moment) -> int:
        """Return the global round of the model of ``moment``."""
        branch = self.branches.get((seed, strategy))
        if branch is None:
            shared = self.branches.get((seed, SHARED_TRAINING), Branch())
            branch = self.branches[seed, strategy] = Branch(shared.latest, shared.trained)
        training = moment.phase == "train"
        # Training goes on counting where it stopped, the other stages count from 1.
        before = branch.latest - branch.trained if training else branch.latest
        began = branch.began.setdefault((moment.request, moment.phase), before)
        number = began + moment.round
        branch.latest = max(branch.latest, number)
        if training:
            branch.trained = max(branch.trained, moment.round)
        return number
