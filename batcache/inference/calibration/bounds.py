"""How low a share may be of which so many were right: the exact binomial bound of Clopper and Pearson (1934).

The one-sided lower bound at 95 % for ``k`` right of ``n`` is the share p at which k or more would be right in 5 % of
samples: P(Bin(n, p) >= k) = I_p(k, n - k + 1) = 0.05, where I is the regularised incomplete beta function. So the bound
lies at or above a share p exactly where I_p is at most 0.05. With I, k and n need not be whole numbers, as effective
numbers are not.
"""

from math import exp, lgamma, log, log1p

CONFIDENCE = 0.95
_TINY = 1e-300


def bound_below(right: float, of: float, confidence: float = CONFIDENCE) -> float:
    """The one-sided lower bound of a share.

    Args:
        right: how many were right, at most ``of``; effective numbers too.
        of: of how many.
        confidence: in what share of samples the bound lies below the true share, or more.

    >>> round(bound_below(29, 29), 3), round(bound_below(48, 50), 3), round(bound_below(95, 100), 3), bound_below(0, 9)
    (0.902, 0.879, 0.898, 0.0)
    """
    if right <= 0:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if chance_of_as_many(right, of, middle) < 1 - confidence:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def chance_of_as_many(right: float, of: float, share: float) -> float:
    """How likely ``right`` or more of ``of`` are right where each is with this ``share``: the p-value of its test.

    >>> round(chance_of_as_many(29, 29, 0.9), 4)
    0.0471
    """
    if right <= 0:
        return 1.0
    return _incomplete_beta(right, of - right + 1, share)


def chance_of_as_few(right: float, of: float, share: float) -> float:
    """How likely ``right`` or fewer of ``of`` are right where each is with this ``share``.

    >>> round(chance_of_as_few(5, 10, 0.9), 4), chance_of_as_few(9, 9, 0.9)
    (0.0016, 1.0)
    """
    return 1.0 if right >= of else _incomplete_beta(of - right, right + 1, 1 - share)


def fewest_to_promise(share: float, confidence: float = CONFIDENCE) -> float:
    """How many must have been judged, all of them right, before the bound reaches ``share``.

    >>> round(fewest_to_promise(0.9), 1)
    28.4
    """
    return log(1 - confidence) / log(share)


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """I_x(a, b), by the continued fraction of DiDonato and Morris (1992), evaluated by Lentz's method."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # there the fraction of the other tail converges
        return 1 - _incomplete_beta(b, a, 1 - x)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)) / a
    fraction, c, d = 1.0, 1.0, 0.0
    for i in range(100_000):
        m = i // 2
        if i == 0:
            term = 1.0
        elif i % 2 == 0:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / _off_zero(1 + term * d)
        c = _off_zero(1 + term / c)
        fraction *= c * d
        if abs(1 - c * d) < 1e-13:
            break
    return min(1.0, front * (fraction - 1))


def _off_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
