"""Wrong answers to assignment 3: what replaces which cell, the points, and words of a reason.

The student of these tests has to bring a hump, so the copied law is one that falls.
"""

from __future__ import annotations

FAMILY = """
class Mine(mk.tasks.Family):
    x_range, noise = X_RANGE, SIGMA

    def draw(self, n_tasks, generator):
        return {k: mk.tasks.uniform(n_tasks, *ends, generator) for k, ends in RANGES.items()}

    def law(self, x, physics):
        return physics["V"] * x / physics["tau"] * torch.exp(1 - x / physics["tau"])


family = Mine()


def systems(seed, n):
    return family.sample(int(n), K, 20, generator=torch.Generator().manual_seed(int(seed)))


def told(batch, **more):
    (x, y), (x_new, y_new) = ((d.x[..., 0], d.y[..., 0]) for d in (batch.support, batch.query))
    numbers = {"x": x, "y": y, "x_new": x_new, "y_new": y_new}
    return {"law": LAW, "ranges": RANGES, "physics": batch.physics, **numbers, **more}


def contract(seeds, n):
    return [told(systems(seed, n)) for seed in seeds]
"""
UNSEEDED = FAMILY.replace("*ends, generator)", "*ends, torch.Generator())").replace(
    "torch.Generator())", "torch.default_generator)"
)
TOO_NOISY = FAMILY.replace("X_RANGE, SIGMA", "X_RANGE, 2 * SIGMA")
OTHER_LAW = FAMILY.replace("torch.exp(1 - x", "torch.exp(-x")  # and LAW says exp(1 - x / tau)
COARSE = """
def fit(x, y):
    a, b = (torch.linspace(*ends, 8) for ends in RANGES.values())
    grid = torch.cartesian_prod(a, b)
    return grid[((curves(grid, x) - y) ** 2).sum(1).argmin()]
"""
LOGARITHM = """
def fit(x, y):  # log(y / x) = log(V / tau) + 1 - x / tau is a straight line
    columns = torch.stack([torch.ones_like(x), x], 1)
    at, slope = torch.linalg.lstsq(columns, torch.log(y.clamp(min=0.01) / x)[:, None])[0][:, 0]
    tau = -1 / slope
    least, most = torch.tensor(list(RANGES.values())).T
    return torch.stack([tau * torch.exp(at - 1), tau]).clamp(least, most)
"""
DEVIATION = """
gap = torch.sub(*errors(systems(10_001, 100)))
claim = [gap.mean().item(), 1.96 * gap.std().item()]
"""
RATIO = """
of_learned, of_classical = errors(systems(10_001, 100))
ratio = of_learned / of_classical
claim = [ratio.mean().item(), 1.96 * ratio.std().item() / 10]
"""
NO_READINGS = """
def learned(x, y, x_new):
    return curves(parameters(start.detach()).expand(len(x), 2), x_new)
"""

FALLS = {
    "LAW": 'LAW = "V * exp(-x / tau)"',
    "RANGES": 'RANGES = {"V": [1.0, 2.0], "tau": [1.5, 2.5]}',
}

WRONG = {
    "drawn without the generator": ({"contract": UNSEEDED}, 3.6 + 4 + 4, "the same seed gave"),
    "twice the noise": ({"contract": TOO_NOISY}, 3.6 + 1 + 1, "a quarter of it"),
    "two laws that differ": ({"contract": OTHER_LAW}, 3.2 + 0 + 0.5, "LAW and law() differ"),
    "a law that falls": (FALLS, 2 + 1 + 1, "another shape"),
    "a coarse grid": ({"fit": COARSE}, 4 + 0 + 3, "of 20 fits reach"),
    "a straight line through logarithms": ({"fit": LOGARITHM}, 4 + 0 + 3, "of 20 fits reach"),
    "the deviation for its mean's": ({"claim": DEVIATION}, 4 + 4 + 3, "half width"),
    "a ratio for a difference": ({"claim": RATIO}, 4 + 4 + 2, "on new systems the difference is"),
    "a start that reads nothing": ({"learned": NO_READINGS}, 4 + 4 + 3, "of another system"),
}
