"""How good is a learner on new tasks, how sure may it be, and what does it cost?"""

from mamlkit.evaluation.calibration import calibration, recalibrate
from mamlkit.evaluation.costs import cost_table
from mamlkit.evaluation.curves import (
    Curve,
    Paired,
    compare,
    error_against_shots,
    evaluate,
    half_width,
    shuffled_support,
    summary,
    tune,
    zero_step_gap,
)
from mamlkit.evaluation.work import (
    Halving,
    Ratio,
    halving,
    penalised,
    ratio,
    single_best,
    spent,
    virtual_best,
)

__all__ = [
    "Curve",
    "Halving",
    "Paired",
    "Ratio",
    "calibration",
    "compare",
    "cost_table",
    "error_against_shots",
    "evaluate",
    "half_width",
    "halving",
    "penalised",
    "ratio",
    "recalibrate",
    "shuffled_support",
    "single_best",
    "spent",
    "summary",
    "tune",
    "virtual_best",
    "zero_step_gap",
]
