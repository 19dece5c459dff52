"""The report of a run, or of a multirun: a page, Markdown, LaTeX tables, figures.

`write` makes all of them from the run's files alone: no model is touched.
"""

from fedunlearn.report.writing import write

__all__ = ["write"]
