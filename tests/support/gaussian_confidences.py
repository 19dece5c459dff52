"""Normal confidences of retrained and unlearned models, whose epsilon has a closed form."""

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm


def side(*records):
    """Confidences [models, records] from a list of models for each record."""
    return np.array(records, dtype=float).T


def draws(seed, models, records=1, shift=0.0, spread=1.0):
    return np.random.default_rng(seed).normal(shift, spread, (models, records))


def closed_form(shift, delta):
    """Balle and Wang (2018), theorem 8, for two normal distributions of unit variance."""

    def left(e):
        ours, theirs = norm.cdf(shift / 2 - e / shift), norm.cdf(-shift / 2 - e / shift)
        return ours - np.exp(e) * theirs - delta

    return brentq(left, 0, 50)
