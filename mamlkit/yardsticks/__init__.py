"""What a learner must beat: zero, mean curve, pooled, scratch, classical fits, closed forms."""

from mamlkit.yardsticks.general import (
    Bayes,
    FromScratch,
    GaussianProcess,
    LeastSquares,
    LinearLatent,
    MeanCurve,
    Pooled,
    Ridge,
    Zero,
    interpolate,
    polynomial,
)
from mamlkit.yardsticks.known_laws import (
    BurgersDifferences,
    CurveFit,
    LeeKesler,
    LineThroughCriticalPoint,
    LotkaVolterraFit,
)

__all__ = [
    "Bayes",
    "BurgersDifferences",
    "CurveFit",
    "FromScratch",
    "GaussianProcess",
    "LeastSquares",
    "LeeKesler",
    "LineThroughCriticalPoint",
    "LinearLatent",
    "LotkaVolterraFit",
    "MeanCurve",
    "Pooled",
    "Ridge",
    "Zero",
    "interpolate",
    "polynomial",
]
