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
    LinearRatesFit,
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
from mamlkit.yardsticks.tracking import (
    FollowTheMetaLeader,
    GridFilter,
    RunningMean,
    curves_prior,
    polynomial_prior,
)
from mamlkit.yardsticks.which_law import ByEvidence, KnownLaws, log_residuals

__all__ = [
    "Bayes",
    "BurgersDifferences",
    "ByEvidence",
    "Classifier",
    "CurveFit",
    "Discriminant",
    "FollowTheMetaLeader",
    "FromScratch",
    "GaussianProcess",
    "GridFilter",
    "KnownLaws",
    "LeastSquares",
    "LeeKesler",
    "LineThroughCriticalPoint",
    "LinearLatent",
    "LinearRatesFit",
    "LotkaVolterraFit",
    "MeanCurve",
    "MixedEffects",
    "Pooled",
    "ProbabilisticPCA",
    "Ridge",
    "RunningMean",
    "Shifted",
    "TwoLevelProcess",
    "Zero",
    "curves_prior",
    "every_point",
    "interpolate",
    "log_residuals",
    "polynomial",
    "polynomial_prior",
    "power_law",
]
