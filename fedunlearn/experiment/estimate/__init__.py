"""What a run will cost, told before it: the real driver with clients that do not train."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
