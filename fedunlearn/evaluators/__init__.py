"""What a model remembers, how well it serves, how far it is from a retrained one.

Two layers. `scores` and `comparison` are functions of arrays: formulas that need no simulator.
`utility`, `forgetting`, `backdoor`, `membership`, `distance` and `per_client` hold one frozen
dataclass each, which picks the sets of records of a `Snapshot` and calls those formulas; `cka` and
`relearn` hold both, formula and dataclass, of what is expensive to measure. What a metric is called
in figures and which way is good is on its card in `fedunlearn.results`.

A metric over no records does not exist and is left out. A model whose logits are not numbers is
right nowhere and agrees with nobody; its losses, its AUC and its other distances are nan.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
