"""The figures of a run, from its files alone: no model is touched.

Each function takes tables as in `Run` and returns a matplotlib Figure; `draw` writes all.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
