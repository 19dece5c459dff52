"""All that is known of one metric: names, unit, range, which way is good, and where it shows."""

from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower", "retrained"]
"""Which value is best: a high one, a low one, or that of the retrained model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One metric, for readers of figures and tables."""

    name: str
    """The metric's name in metrics.csv."""
    label: str
    """Its name in figures, with the unit where there is one; percent is added to it."""
    better: Better
    lower_bound: float
    """The least value there can be; -inf where there is none."""
    upper_bound: float
    """The greatest value there can be; inf where there is none."""
    meaning: str
    """One sentence for captions."""

    percent: bool = False
    """Whether people know it in percent: accuracies, rates and agreements. Files hold fractions."""
    about_leavers: bool = False
    """Whether it looks at those who left, and not at how everybody else is served."""
    remembered: Literal["higher", "lower"] | None = None
    """On which side of retraining a model lies that still knows the leavers; None: on neither."""
    planted: bool = False
    """Whether it looks for a planted backdoor: it says nothing where that did not take."""
    compares: bool = False
    """Whether it compares with the retrained model already: then it has no gap."""
    distance: bool = False
    """Whether it is 0 for the retrained model itself and grows with the distance from it."""
    judged: bool = True
    """Whether it gets a verdict. Weights get none: most strategies start where the first reference
    did and the further ones elsewhere, which alone tells them apart, whatever they forgot."""

    chief: bool = False
    """Whether it stands in a report's first table; all metrics stand in the second."""
    panel: bool = False
    """Whether it has a panel in the figure of curves."""
    heading: str = ""
    """Its heading in the table on the terminal, of two lines; empty: it is not in that table."""
    title: str = ""
    """What stands above a narrow panel; empty: it has none in the figure of many strategies."""
    progress: str = ""
    """Its short name beside the bar of progress; empty: it is not shown there."""
