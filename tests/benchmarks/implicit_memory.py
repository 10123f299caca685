"""How much memory does a meta-gradient take? Implicit MAML beside MAML, over the inner steps.

MAML keeps every inner step until the meta-gradient is done; implicit MAML keeps none. Both adapt
all weights of the network 1-40-40-1 (tanh) to tasks of 10 points, in float64. MAML takes gradient
steps; the solver of implicit MAML is told to go on for exactly as many steps, on a problem that it
does not finish before (a weak penalty, tolerance 0). Every tensor is followed from birth to death
(``mamlkit.evaluation.costs.peak_bytes``), so each operation is slow here, and the whole takes some
minutes.

Run from the root of the repository::

    python -m tests.benchmarks.implicit_memory    # --plot docs/_static/implicit_memory.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import mamlkit as mk
from mamlkit.evaluation.costs import peak_bytes

TASKS, SHOTS, STEPS = 5, 10, (1, 10, 100, 1000)


def learner(kind: str, steps: int) -> mk.learners.MetaLearner:
    """MAML, or implicit MAML, with so many inner steps."""
    model = mk.models.MLP(1, 1, hidden=(40, 40), x_range=(-5.0, 5.0)).double()
    if kind == "MAML":
        return mk.MAML(model, inner_lr=0.01, inner_steps=steps)
    return mk.ImplicitMAML(model, penalty=0.01, tolerance=0.0, max_steps=steps)


def meta_gradient_bytes(kind: str, steps: int) -> tuple[int, int]:
    """Peak memory of one meta-gradient, and the inner steps that the quickest task took."""
    ours = learner(kind, steps)
    generator = torch.Generator().manual_seed(0)
    batch = mk.tasks.Sinusoid().sample(TASKS, SHOTS, generator=generator, dtype=torch.float64)
    peak = peak_bytes(lambda: ours(batch)[0].mean().backward())
    return peak, int(ours.steps_taken.min()) if isinstance(ours, mk.ImplicitMAML) else steps


def plot(table: dict[str, list[float]], path: Path) -> None:
    """Memory against inner steps, in the style of the package."""
    import matplotlib.pyplot as plt

    from mamlkit.show import plots

    plots.use_style()
    figure, ax = plt.subplots()
    for i, (kind, megabytes) in enumerate(table.items()):
        ax.plot(STEPS, megabytes, **plots.line(i), marker="o", label=kind)
    ax.set(xscale="log", yscale="log", xlabel="inner steps", ylabel="peak memory (MB)")
    ax.set_title(f"One meta-gradient of {TASKS} tasks")
    ax.legend()
    figure.savefig(path)


def main() -> None:
    """Measure, print one table, draw it where asked."""
    parser = argparse.ArgumentParser(description="Memory of a meta-gradient over inner steps.")
    parser.add_argument("--plot", type=Path, help="write the picture to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {TASKS} tasks, {SHOTS} shots, float64; peak memory in MB")
    print(f"{'inner steps':>14}" + "".join(f"{steps:>10}" for steps in STEPS))
    table: dict[str, list[float]] = {}
    for kind in ("MAML", "implicit MAML"):
        found = [meta_gradient_bytes(kind, steps) for steps in STEPS]
        assert [steps for _, steps in found] == list(STEPS), f"{kind} took other steps: {found}"
        table[kind] = [1e-6 * peak for peak, _ in found]
        print(f"{kind:>14}" + "".join(f"{megabytes:10.2f}" for megabytes in table[kind]))
    if options.plot:
        plot(table, options.plot)


if __name__ == "__main__":
    main()
