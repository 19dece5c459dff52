"""The Gaussian mechanism against known values, and against what its definition says."""

import math

import pytest
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from fedunlearn.checks import Refused
from fedunlearn.methods import NOISE_MECHANISMS
from fedunlearn.methods.gaussian_mechanism import (
    analytic_delta,
    analytic_epsilon,
    analytic_sigma,
    classical_epsilon,
    classical_sigma,
    renyi_epsilon,
    renyi_sigma,
)


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0, 4.0])
@pytest.mark.parametrize("sigma", [0.4, 1.0, 3.0])
def test_delta_is_what_the_definition_asks_for(epsilon, sigma):
    """delta = integral of max(0, p - e^epsilon p') for the two densities, ``bound`` apart."""
    bound = 1.5

    def excess(x):
        return max(0.0, norm.pdf(x, bound, sigma) - math.exp(epsilon) * norm.pdf(x, 0, sigma))

    cut = bound / 2 + epsilon * sigma**2 / bound  # where the densities' ratio is e^epsilon
    area, _ = quad(excess, cut, cut + 12 * sigma, epsabs=1e-13, limit=200)
    assert analytic_delta(bound, sigma, epsilon) == pytest.approx(area, rel=1e-6, abs=1e-12)


def test_the_least_noise_at_epsilon_1_and_delta_1e_minus_5():
    """A value that many implementations of Balle and Wang's algorithm agree on."""
    assert analytic_sigma(1, 1, 1e-5) == pytest.approx(3.7306316348, rel=1e-9)


def test_the_classical_noise_and_sifu_s_constant():
    assert classical_sigma(1, 1, 1e-5) == pytest.approx(math.sqrt(2 * math.log(125_000)))
    assert classical_sigma(3, 0.5, 1e-5) == pytest.approx(6 * classical_sigma(1, 1, 1e-5))
    assert 0.05 / classical_sigma(1, 10, 0.01) == pytest.approx(0.1609, abs=5e-5)


@pytest.mark.parametrize("delta", [0.1, 0.01, 1e-5, 1e-9])
@pytest.mark.parametrize("epsilon", [0.01, 0.5, 1.0])
def test_the_classical_theorem_holds_up_to_epsilon_1(epsilon, delta):
    assert analytic_delta(1, classical_sigma(1, epsilon, delta), epsilon) < delta
    assert analytic_sigma(1, epsilon, delta) < classical_sigma(1, epsilon, delta)


def test_beyond_epsilon_1_the_classical_noise_may_be_too_small():
    assert analytic_delta(1, classical_sigma(1, 10, 0.01), 10) > 0.04
    assert analytic_sigma(1, 10, 0.01) > classical_sigma(1, 10, 0.01)


@pytest.mark.parametrize("delta", [0.1, 1e-5, 1e-12])
@pytest.mark.parametrize("epsilon", [1e-3, 0.7, 1.0, 8.0, 100.0, 900.0])
@pytest.mark.parametrize("bound", [1e-3, 1.0, 50.0])
def test_each_way_back(bound, epsilon, delta):
    sigma = analytic_sigma(bound, epsilon, delta)
    assert analytic_delta(bound, sigma, epsilon) == pytest.approx(delta, rel=1e-4)
    assert analytic_epsilon(bound, sigma, delta) == pytest.approx(epsilon, rel=1e-4)
    rough = classical_sigma(bound, epsilon, delta)
    assert classical_epsilon(bound, rough, delta) == pytest.approx(epsilon)


@pytest.mark.parametrize("delta", [0.5, 1e-5, 1e-12])
@pytest.mark.parametrize("epsilon", [1e-6, 0.1, 1.0, 10.0, 900.0])
@pytest.mark.parametrize("bound", [1e-3, 1.0, 50.0])
def test_fedrecovery_s_noise_solves_its_equation(bound, epsilon, delta):
    """sigma = d / (sqrt 2 (sqrt(L + epsilon) - sqrt L)), with beta for delta and L = ln(1/beta)."""
    sigma = renyi_sigma(bound, epsilon, delta)
    log = math.log(1 / delta)
    roots = math.sqrt(2) * (math.sqrt(log + epsilon) - math.sqrt(log))
    assert sigma * roots == pytest.approx(bound, rel=1e-5)
    spent = bound**2 / (2 * sigma**2) + bound / sigma * math.sqrt(2 * log)
    assert spent == pytest.approx(epsilon, rel=1e-9)
    assert renyi_epsilon(bound, sigma, delta) == pytest.approx(epsilon, rel=1e-9)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 5.0])
def test_its_epsilon_is_the_best_of_all_orders(sigma):
    """a B^2 / (2 sigma^2) + L / (a - 1), least over orders a above 1."""
    bound, log = 1.5, math.log(1e5)

    def spent(order):
        return order * bound**2 / (2 * sigma**2) + log / (order - 1)

    best = minimize_scalar(spent, bounds=(1 + 1e-9, 1e3), method="bounded")
    assert renyi_epsilon(bound, sigma, 1e-5) == pytest.approx(best.fun, rel=1e-6)


@pytest.mark.parametrize("delta", [0.1, 0.01, 1e-5, 1e-9])
@pytest.mark.parametrize("epsilon", [0.01, 1.0, 10.0, 100.0])
def test_its_theorem_holds_for_every_epsilon_with_noise_to_spare(epsilon, delta):
    assert analytic_delta(1, renyi_sigma(1, epsilon, delta), epsilon) < delta
    assert renyi_sigma(1, epsilon, delta) > analytic_sigma(1, epsilon, delta)


def test_much_noise_needs_no_epsilon_and_little_noise_a_large_one():
    assert analytic_delta(1, 100, 0) < 0.1
    assert analytic_epsilon(1, 100, 0.1) == 0
    assert analytic_epsilon(1, 0.01, 1e-5) > 5000


@pytest.mark.parametrize("mechanism", NOISE_MECHANISMS.values(), ids=NOISE_MECHANISMS)
@pytest.mark.parametrize(
    ("arguments", "name"),
    [((0, 1, 0.1), "bound"), ((1, 0, 0.1), "epsilon"), ((1, 1, 0), "delta"), ((1, 1, 1), "delta")],
)
def test_impossible_budgets_are_refused(mechanism, arguments, name):
    with pytest.raises(Refused, match=rf"^{name} must be a number above 0"):
        mechanism(*arguments)
