"""What a client does in a round, one by one or many at once.

Begin with `work` and `sgd`. `objectives` are what clients minimise, `optimizers` how they step;
`cohort` trains many clients as one matrix.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
