"""Reproducible random numbers: the same label gives the same draws in every Python version.

Only ``Random.random()`` is used: Python guarantees its sequence between versions, but not those of
``choice``, ``gauss`` and others.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import cos, exp, log, pi, sqrt
from random import Random
from typing import Generic, TypeVar

T = TypeVar("T")


class Dice:
    """Random draws that depend on the label only, so that entities do not affect each other."""

    def __init__(self, *label: object) -> None:
        self.random = Random("/".join(map(str, label))).random

    def chance(self, probability: float) -> bool:
        return self.random() < probability

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.random()

    def whole(self, low: int, high: int) -> int:
        """Give a whole number from low to high, both included."""
        return low + int(self.random() * (high - low + 1))

    def pick(self, values: Sequence[T]) -> T:
        return values[int(self.random() * len(values))]

    def normal(self, mean: float = 0.0, deviation: float = 1.0) -> float:
        radius = sqrt(-2.0 * log(1.0 - self.random()))
        return mean + deviation * radius * cos(2.0 * pi * self.random())

    def lognormal(self, median: float, sigma: float) -> float:
        return median * exp(self.normal(0.0, sigma))

    def exponential(self, mean: float) -> float:
        return -mean * log(1.0 - self.random())

    def poisson(self, mean: float) -> int:
        if mean > 30:
            return max(0, round(self.normal(mean, sqrt(mean))))
        count, product, floor = 0, self.random(), exp(-mean)
        while product > floor:
            count += 1
            product *= self.random()
        return count


class Weighted(Generic[T]):
    """Values drawn in proportion to their weights."""

    def __init__(self, pairs: Iterable[tuple[T, float]]) -> None:
        held = tuple(pairs)
        self.values = tuple(value for value, _ in held)
        self.sums = tuple(accumulate(weight for _, weight in held))

    def draw(self, dice: Dice) -> T:
        return self.values[bisect_right(self.sums, dice.random() * self.sums[-1])]
