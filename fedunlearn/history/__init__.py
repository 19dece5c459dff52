"""What the server keeps of training, in which form, and how it is purged.

Begin with `rounds` and `history`. `stores` says where rounds go, `policies` which of them stay;
the search in `audit` shows that who left is gone.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
