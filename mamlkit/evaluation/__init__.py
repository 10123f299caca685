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
from mamlkit.evaluation.online import (
    Followed,
    alarm,
    coverage,
    dynamic_regret,
    follow,
    recovery_time,
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
    "Followed",
    "Halving",
    "Paired",
    "Ratio",
    "alarm",
    "calibration",
    "compare",
    "cost_table",
    "coverage",
    "dynamic_regret",
    "error_against_shots",
    "evaluate",
    "follow",
    "half_width",
    "halving",
    "penalised",
    "ratio",
    "recalibrate",
    "recovery_time",
    "shuffled_support",
    "single_best",
    "spent",
    "summary",
    "tune",
    "virtual_best",
    "zero_step_gap",
]
