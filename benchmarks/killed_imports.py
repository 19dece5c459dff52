"""What a comparison imports, for processes that are forked with all of it."""

import matplotlib.pyplot
import sklearn.linear_model
import torch.fx.experimental.symbolic_shapes  # which a thread pool's first autograd call wants

import fedunlearn.simulations.compare
from fedunlearn.results import plots

LOADED = (
    matplotlib.pyplot,
    sklearn.linear_model,
    torch.fx.experimental.symbolic_shapes,
    fedunlearn.simulations.compare,
    plots.draw,
)
