"""The report of a run, or of a multirun: a page, Markdown, LaTeX tables, figures.

`write` makes all of them from the run's files alone: no model is touched.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
