"""What a request and a strategy are, what a strategy is handed, and the driver.

This is the room that a method's author opens: begin with `strategy`. All that a method needs in
its signature can be imported from here.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
