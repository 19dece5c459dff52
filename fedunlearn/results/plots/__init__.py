"""The figures of a run, from its files alone: no model is touched.

Each function takes tables as in `Run` and returns a matplotlib Figure; `draw` writes all.

matplotlib draws the files and Vega the page of `report`: a paper wants figures of one or two
columns in its own type, with names placed so that none covers another, which Vega does not do; a
page wants inputs that change what is drawn, which matplotlib does not do. Where both draw the same
picture they take its rows, their order, its names and its intervals from `frames`, so that they
cannot contradict each other.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
