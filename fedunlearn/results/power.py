"""What a design of S seeds and R references can decide: told before anything is trained."""

from functools import cache

from fedunlearn import randomness
from fedunlearn.randomness import Stream
from fedunlearn.results.joint_test import LEVEL, told_apart
from fedunlearn.results.permutation_test import enough, fewest_references
from fedunlearn.results.wording import counted

DRAWS = 200
"""Designs that are drawn; a share of them is known to 3.5 points."""

ARRANGEMENTS = 2000
"""So many are gone through at most: more would not move a share of so few draws."""

SHARED = 0.5
"""Correlation between two measures of one model: those about the same records hang together."""


@cache
def power(shift: float, seeds: int, references: int, measures: int) -> float:
    """Return how often models that are shifted by ``shift`` standard deviations are told apart.

    By simulation: ``measures`` normal measures with correlation `SHARED`, all of them shifted by
    so many standard deviations of retraining within a seed; 0 where `enough` says that a design
    cannot tell anything. Without a shift this is the rate of false alarms, at most `LEVEL`.
    """
    if not enough(seeds, references, 1 - LEVEL):
        return 0.0
    rng = randomness.rng(0, Stream.POWER, seeds, references, measures)
    told = 0
    for _ in range(DRAWS):
        shape = (seeds, references + 1)
        common = rng.normal(size=(*shape, 1)) * SHARED**0.5
        models = common + rng.normal(size=(*shape, measures)) * (1 - SHARED) ** 0.5
        models[:, 0] += shift
        places = range(measures)
        mine = {str(place): models[:, 0, place] for place in places}
        others = {str(place): models[:, 1:, place] for place in places}
        told += told_apart(mine, others, ARRANGEMENTS)[0] <= LEVEL
    return told / DRAWS


def decidable(seeds: int, references: int, measures: int = 12) -> str:
    """Say in a sentence what a design can tell, before anything is trained."""
    design = f"{counted(seeds, 'seed')} x {counted(references, 'reference')}"
    if not enough(seeds, references, 1 - LEVEL):
        least = fewest_references(seeds)
        return f"{design} cannot tell anything from chance; references={least} or more seeds could."
    shares = [
        f"{power(shift, seeds, references, measures):.0%} of {shift:g}" for shift in (1, 2, 3)
    ]
    return (
        f"{design} tell models apart that lie some standard deviations of retraining away: "
        f"{', '.join(shares)}; retrained models in at most {LEVEL:.0%} of runs."
    )
