"""The files of a run, and all that is read out of them: verdicts, costs, figures, report.

    from fedunlearn.results import load
    load(folder).summary

Begin with `run_files`. Nothing here touches a model or imports torch.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
