"""Wrong answers to assignment 2: what replaces which cell, the points, and words of a reason."""

from __future__ import annotations

LEAST_SQUARES = """
def solve(x, y, noise, spread, x_new):
    phi, at = (torch.stack([torch.sin(v), torch.cos(v)], dim=1) for v in (x, x_new))
    return at @ torch.linalg.pinv(phi) @ y
"""
NOT_SQUARED = """
def solve(x, y, noise, spread, x_new):
    phi, at = (torch.stack([torch.sin(v), torch.cos(v)], dim=1) for v in (x, x_new))
    penalty = noise / spread * torch.eye(2)
    return at @ torch.linalg.solve(phi.T @ phi + penalty, phi.T @ y)
"""
NO_INVERSE = """
def solve(x, y, noise, spread, x_new):
    phi, at = (torch.stack([torch.sin(v), torch.cos(v)], dim=1) for v in (x, x_new))
    return at @ torch.linalg.inv(phi) @ y
"""
LINES = """
def two_lines(low, high, widest, reach):
    zero = (low**2 + low * high + high**2) / 3 / 2
    height = (low + high) / 2 * math.sin(widest / 2) / (widest / 2)
    return [zero, zero - height**2 / 2]


lines = two_lines(low, high, widest, reach)
"""
SHUFFLED = """
total = {}
for name, learner in (("MAML", maml), ("pooled", pooled)):
    for k, supports in enumerate((range(40), [(i + 1) % 40 for i in range(40)])):
        total[name, k] = 0.0
        for i, j in enumerate(supports):
            predict = learner.adapt(x[INPUTS, :10], y[j, :10], steps=1)
            total[name, k] += (predict(x[ASKED, 10:]) - y[ASKED, 10:]).square().mean().item()
shuffled = [value / 40 for value in total.values()]
"""
ZERO_FOR_MEAN = """
def level(amplitude, steps):
    tasks = mk.tasks.Sinusoid(amplitude=(amplitude - spread, amplitude + spread), phase=(0, 1))
    error = mk.evaluate(maml, tasks, 10, steps=steps, n_tasks=200).mean[steps].item()
    return min(math.pi, error / (amplitude**2 / 2))
"""
ONE_STEP = """
def level(amplitude, steps):
    ends = (amplitude - spread, amplitude + spread)
    widths, width = torch.linspace(0.01, math.pi, 2000).tolist(), 1.0
    for _ in range(2):
        tasks = mk.tasks.Sinusoid(amplitude=ends, phase=(0.0, width))
        error = mk.evaluate(maml, tasks, 10, n_tasks=300, queries=20).mean[1].item()
        width = min(widths, key=lambda w: abs(two_lines(*ends, w, 5.0)[1] - error))
    return width
"""

WRONG = {
    "least squares": ({"solve": LEAST_SQUARES}, 2 + 3 + 2 + 4, "before them is not used"),
    "a penalty that is not squared": ({"solve": NOT_SQUARED}, 3 + 3 + 2 + 4, "to be squared"),
    "the inverse of one row": ({"solve": NO_INVERSE}, 0 + 3 + 2 + 4, "must be batches of square"),
    "one half for every sine": ({"lines": LINES}, 4 + 1.5 + 2 + 4, "no whole periods"),
    "the query goes along": (
        {"shuffled": SHUFFLED.replace("INPUTS", "j").replace("ASKED", "j")},
        4 + 3 + 0.5 + 4,
        "so nothing was",
    ),
    "only y is shuffled": (
        {"shuffled": SHUFFLED.replace("INPUTS", "i").replace("ASKED", "i")},
        4 + 3 + 1 + 4,
        "belong to them",
    ),
    "level with the zero line": ({"level": ZERO_FOR_MEAN}, 4 + 3 + 2, "the mean curve leads by"),
    "one inner step for ten": ({"level": ONE_STEP}, 4 + 3 + 2 + 2, "MAML leads"),
}
