"""A model is one flat vector, and a net a function of it.

    weights [d] --Network--> logits [n, classes]

Begin with `Network` and `Layout`; the nets that ship are in `architectures`.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
