"""What a request and a strategy are, what a strategy is handed, and the driver.

This is the room that a method's author opens: begin with `strategy`. All that a strategy
file names, of the rooms below as well, can be imported from here (`vocabulary`); what several
methods share is in `methods`.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
