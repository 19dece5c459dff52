"""What training more models finds out about a finished run.

Shadow models, membership games and the competition's score; begin with `attack`.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
