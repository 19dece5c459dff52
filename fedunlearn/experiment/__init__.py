"""A configured comparison, from plain values to a finished folder.

    run(Experiment(...), seeds, folder, config, console)

Begin with `experiment` for what can be set, `whole_run` and `seed_run` for what then happens.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
