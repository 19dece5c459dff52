"""Records, who holds them, and what is planted among them.

Begin with `federation`: a `Scenario` says in a few values who holds what, a `Federation` is the
arrays themselves.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
