"""The smallest difference of two methods that so many cases could have shown."""

import numpy as np
from scipy.special import stdtrit

from resenc_plans.study.statistics.clusters import Clusters, Floats

POWER = 0.8
"""The chance to find the difference, where it is there."""


def detectable_difference(differences: Floats, clusters: Clusters, alpha: float) -> float:
    """The mean difference that a test at `alpha` finds with a chance of `POWER`.

    It is `(t(1 - alpha / 2) + t(POWER))` standard errors, with one degree of freedom less than
    there are clusters. The standard error is that of a mean over clusters of unequal sizes
    (Cochran 1977: Sampling Techniques, chapter 9A). NaN is no value.
    """
    is_valid = ~np.isnan(differences)
    if not is_valid.any():
        return float("nan")
    mean = float(differences[is_valid].mean())
    deviations = np.where(is_valid, differences - mean, 0.0)
    columns = clusters.sums(np.stack([deviations, is_valid.astype(float)], 1))
    sums = columns[columns[:, 1] > 0, 0]
    size = len(sums)
    if size < 2:
        return float("nan")
    error = (size / (size - 1) * float((sums**2).sum())) ** 0.5 / int(is_valid.sum())
    return float((stdtrit(size - 1, 1 - alpha / 2) + stdtrit(size - 1, POWER)) * error)


def expected_detectable(spread: float, patients: int, alpha: float) -> float:
    """`detectable_difference` before there are differences; `spread` is their standard deviation.

    >>> round(expected_detectable(0.05, 40, 0.05), 4)
    0.0227
    """
    if patients < 2:
        return float("nan")
    error = spread / patients**0.5
    return float((stdtrit(patients - 1, 1 - alpha / 2) + stdtrit(patients - 1, POWER)) * error)
