"""Every variant at an equal budget, on sinusoids and on fluids (notebook 06)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from mamlkit.course.quickstart import MEASURED_AT, SETTINGS
from mamlkit.course.recipes.base import SHORT, Recipe, check, settle, tuned
from mamlkit.evaluation.curves import evaluate
from mamlkit.learners import ANIL, CAVIA, FOMAML, MAML, CoDA, MAMLPlusPlus, MetaSGD
from mamlkit.learners.heads import RidgeHead
from mamlkit.learners.implicit import ImplicitMAML
from mamlkit.learners.meta import MetaLearner
from mamlkit.learners.reptile import Reptile
from mamlkit.losses import rmse
from mamlkit.models import MLP
from mamlkit.tasks import Family, Sinusoid, VapourPressure
from mamlkit.tasks.fluids import Part
from mamlkit.training.loop import Plan
from mamlkit.yardsticks.general import Pooled

_FLUIDS = replace(SHORT, **{**SETTINGS, "iterations": 1500})
#: The problems of the recipe ``family``, with their plans: sinusoids; fluids measured once at
#: T/Tc = 0.7; fluids measured twice, anywhere. The fluids take the settings of the quickstart.
PROTOCOLS: dict[str, Plan] = {
    "sinusoid": replace(SHORT, iterations=1000, outer_lr=3e-3),
    "fluids": _FLUIDS,
    "anywhere": replace(_FLUIDS, shots=2),
}

#: What the search of the recipe ``family-search`` tries for each learner: step sizes, or penalties
#: where the inner problem is solved. Seven values each. (Pooled training has nothing to search: the
#: step size of its fine-tuning is chosen after training, from five.)
STEP_SIZES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
PENALTIES = (1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0)
SOLVED = ("imaml", "solved", "ridge")

#: The winners of that search on validation tasks: inner_lr, or the penalty of ``SOLVED``.
#: "modulate" is CAVIA with the context fed by modulation, "curvature" a learned matrix step of the
#: head, "solved" a context that implicit MAML solves for.
CHOSEN: dict[str, dict[str, float]] = {
    "sinusoid": {
        "pooled": 0.01,
        "maml": 0.03,
        "fomaml": 0.03,
        "anil": 0.3,
        "curvature": 0.03,
        "metasgd": 0.01,
        "mamlpp": 0.1,
        "cavia": 0.1,
        "modulate": 0.3,
        "coda": 0.01,
        "reptile": 0.1,
        "imaml": 1.0,
        "ridge": 0.0001,
    },
    "fluids": {
        "pooled": 0.01,
        "maml": 0.1,
        "fomaml": 0.01,
        "anil": 0.3,
        "curvature": 0.01,
        "metasgd": 0.01,
        "mamlpp": 0.01,
        "cavia": 0.3,
        "modulate": 0.1,
        "coda": 0.1,
        "reptile": 0.1,
        "imaml": 0.1,
        "ridge": 1e-05,
    },
    "anywhere": {
        "metasgd": 1.0,
        "cavia": 1.0,
        "ridge": 0.01,
        "solved": 0.001,
    },
}
#: Implicit MAML solves its inner problem and gets a part of the iterations: one in so many.
FEWER = {"imaml": 8, "solved": 3}
#: How validation tasks judge: members of a finite family are all taken.
_JUDGED: dict[str, dict[str, Any]] = {
    "sinusoid": {"n_tasks": 200},
    "fluids": {"loss": rmse},
    "anywhere": {"loss": rmse},
}


def _protocol(problem: str, name: str) -> Plan:
    plan = PROTOCOLS[problem]
    if name in FEWER:
        plan = replace(plan, iterations=plan.iterations // FEWER[name], compile=False)
    return plan


def build(name: str, seed: int = 0, value: float | None = None) -> MetaLearner:
    """An untrained learner of the recipe ``family``, in float32.

    All have a network 1-40-40-1 with tanh; the ridge head takes the place of its last layer.
    Gradient-based learners make five inner steps on the sinusoids (the matrix step makes one), and
    one on the fluids, where MAML++ and Reptile, which are about several steps, make five. Contexts
    hold two numbers on the sinusoids and one on the fluids: as many as the curves have unknowns.

    Args:
        name: problem and learner, such as "fluids-cavia": one of :data:`CHOSEN`.
        seed: fixes the random start.
        value: step size or penalty; None takes that of :data:`CHOSEN`.
    """
    check("family", name, RECIPE.protocols)
    problem, _, name = name.partition("-")
    value = CHOSEN[problem][name] if value is None else value
    sines = problem == "sinusoid"
    context, steps = (2, 5) if sines else (1, 1)
    anneal = PROTOCOLS[problem].iterations // 5

    def net(d_out: int = 1, hidden: Sequence[int] = (40, 40), **settings: Any) -> MLP:
        x_range = None if sines else VapourPressure.x_range
        return MLP(1, d_out, hidden=hidden, x_range=x_range, seed=seed, **settings).float()

    makers: dict[str, Callable[[], MetaLearner]] = {
        "pooled": lambda: Pooled(net(), value),
        "maml": lambda: MAML(net(), value, steps),
        "fomaml": lambda: FOMAML(net(), value, steps),
        "anil": lambda: ANIL(net(), value, steps),
        "curvature": lambda: MAML(net(), value, adapt="head", learn_lr="matrix"),
        "metasgd": lambda: MetaSGD(net(), value, steps),
        "mamlpp": lambda: MAMLPlusPlus(
            net(), value, 5, anneal=anneal, second_order_from=anneal // 2
        ),
        "cavia": lambda: CAVIA(net(context=context), value, steps),
        "modulate": lambda: CAVIA(net(context=context, feed="modulate"), value, steps),
        "coda": lambda: CoDA(net(), value, steps, context=context, seed=seed),
        "reptile": lambda: Reptile(net(), value, 5),
        "imaml": lambda: ImplicitMAML(net(), value, tolerance=1e-2, max_steps=15, max_cg=8),
        "solved": lambda: ImplicitMAML(
            net(context=context), value, adapt="context", tolerance=1e-3, max_steps=8, max_cg=1
        ),
        "ridge": lambda: RidgeHead(net(40, (40,)), value),
    }
    return makers[name]()


def tasks(problem: str, part: Part = "train") -> Family:
    """The tasks of a problem of the recipe ``family``: "train", "validation" or "test"."""
    if problem == "sinusoid":
        return Sinusoid()
    return VapourPressure(at=MEASURED_AT if problem == "fluids" else None).split(part)


def tune(learner: MetaLearner, name: str) -> dict[str, Any]:
    """Inner step size and number of steps at test time, chosen on validation tasks: both for
    whatever has a fixed step size, the number alone where it is learned.
    """
    problem = name.partition("-")[0]
    pooled = isinstance(learner, MAML) and learner.step_weights[0] == 1.0
    patient = pooled or isinstance(learner, Reptile)  # trained for no given number of steps
    return tuned(
        learner,
        tasks(problem, "validation"),
        PROTOCOLS[problem].shots,
        (0.1, 0.3, 1.0, 3.0, 10.0),
        max_steps=30 if patient else 10,
        **_JUDGED[problem],
    )


def judge(learner: MetaLearner, name: str) -> tuple[float]:
    """Mean error on validation tasks, with the inner steps that suit them best."""
    settle(learner, tune(learner, name))
    problem = name.partition("-")[0]
    family, shots = tasks(problem, "validation"), PROTOCOLS[problem].shots
    return (float(evaluate(learner, family, shots, seed=2, **_JUDGED[problem]).mean[-1]),)


#: All takes some half an hour on one core, and the search some twenty minutes: each learner is
#: trained with each of seven values, at full length, with one seed.
RECIPE = Recipe(
    name="family",
    about="Train every variant of the family at an equal budget, and save the learners.",
    protocols={
        f"{problem}-{name}": _protocol(problem, name)
        for problem in CHOSEN
        for name in CHOSEN[problem]
    },
    build=build,
    tasks=lambda name: tasks(name.partition("-")[0]),
    tuned=tune,
    about_search="Search the one number of each variant: the table behind :data:`CHOSEN`.",
    trials={
        f"{problem}-{name}": [{"value": v} for v in (PENALTIES if name in SOLVED else STEP_SIZES)]
        for problem in CHOSEN
        for name in CHOSEN[problem]
        if name != "pooled"
    },
    judge=judge,
)
