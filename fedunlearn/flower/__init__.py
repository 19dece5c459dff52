"""All that imports Flower: messages, grids, clients, engines, the wrapper for anyone's app.

    from fedunlearn.flower import Unlearning

Begin with `grid_clients` for the server's side and with `client_app` for the clients'.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
