"""Intervals and tests on what became of each image."""

import math

import numpy as np

Z = 1.959963984540054  # of 95 %


def wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of n images."""
    centre = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def sign_flip_p(differences: np.ndarray) -> float:
    """Two-sided p of the hypothesis that each image's difference is as likely to have the other sign; exact, over all
    2^n flips. The differences are integers. Where they are -1, 0 and 1 this is McNemar's exact test."""
    sizes = np.abs(differences[differences != 0]).astype(np.int64)
    if len(sizes) == 0:
        return 1.0
    sizes //= np.gcd.reduce(sizes)
    observed = abs(int((np.sign(differences[differences != 0]).astype(np.int64) * sizes).sum()))
    # chance[k]: that the flipped differences that are positive sum to k.
    chance = np.zeros(int(sizes.sum()) + 1)
    chance[0], reach = 1.0, 0
    for size in map(int, sizes):
        chance[: reach + size + 1] *= 0.5
        chance[size : reach + size + 1] += chance[: reach + 1].copy()
        reach += size
    least = (reach + observed + 1) // 2  # of the positive sum, for a total of at least `observed`
    return min(1.0, 2 * float(chance[least:].sum())) if observed else 1.0


def holm(p_values: list[float]) -> list[float]:
    """Adjusted for as many comparisons as there are (Holm 1979)."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def deviation(values: list[float]) -> float:
    """Standard deviation of a sample; NaN of fewer than two."""
    if len(values) < 2:
        return math.nan
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
