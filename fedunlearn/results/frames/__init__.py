"""What each picture shows, as tables: rows and their order, names, goals and intervals.

`plots` draws them into a run's files and `report` on its page, so that both show the same.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
