"""Confidence interval of a rate."""

from __future__ import annotations


def rate_interval(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's exact interval (Biometrika 26, 1934) for k events in n trials; NaN twice for n = 0."""
    if not 0 <= k <= n or not 0 < confidence < 1:
        raise ValueError(f"need 0 <= k <= n and 0 < confidence < 1, not k={k}, n={n}, confidence={confidence}")
    if n == 0:
        return float("nan"), float("nan")
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return low, high
