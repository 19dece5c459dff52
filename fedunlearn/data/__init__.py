"""Records, who holds them, and what is planted among them.

Begin with `scenario`: a `Scenario` says in a few values who holds what. A `Federation` is the
arrays themselves, and its `Holdings` which of them clients hold in which round.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
