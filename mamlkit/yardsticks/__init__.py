"""What a learner must beat: zero, mean curve, pooled, scratch, classical fits, closed forms."""

from mamlkit.yardsticks.classifiers import Classifier, Discriminant
from mamlkit.yardsticks.general import (
    Bayes,
    FromScratch,
    LeastSquares,
    Pooled,
    Ridge,
    Zero,
    polynomial,
)
from mamlkit.yardsticks.known_laws import (
    BurgersDifferences,
    CurveFit,
    LeeKesler,
    LineThroughCriticalPoint,
    LotkaVolterraFit,
)
from mamlkit.yardsticks.latent import (
    GaussianProcess,
    LinearLatent,
    MeanCurve,
    MixedEffects,
    ProbabilisticPCA,
    interpolate,
)
from mamlkit.yardsticks.pooled_points import (
    Shifted,
    TwoLevelProcess,
    every_point,
    power_law,
)
from mamlkit.yardsticks.which_law import ByEvidence, KnownLaws, log_residuals

__all__ = [
    "Bayes",
    "BurgersDifferences",
    "ByEvidence",
    "Classifier",
    "CurveFit",
    "Discriminant",
    "FromScratch",
    "GaussianProcess",
    "KnownLaws",
    "LeastSquares",
    "LeeKesler",
    "LineThroughCriticalPoint",
    "LinearLatent",
    "LotkaVolterraFit",
    "MeanCurve",
    "MixedEffects",
    "Pooled",
    "ProbabilisticPCA",
    "Ridge",
    "Shifted",
    "TwoLevelProcess",
    "Zero",
    "every_point",
    "interpolate",
    "log_residuals",
    "polynomial",
    "power_law",
]
