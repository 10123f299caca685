"""Wrong answers to assignment 5: what replaces which cell, the points, and words of a reason.

What a policy earns follows from the secret states of the student and the salt of the tests.
"""

from __future__ import annotations

NO_PRIOR_MEAN = """
def posterior(phi, y, sigma, mean, cov, phi_new):
    of_readings = phi @ cov @ phi.T + torch.diag(sigma**2)
    gain = torch.linalg.solve(of_readings, phi @ cov).T
    return phi_new @ gain @ y, ((phi_new @ (cov - gain @ phi @ cov)) * phi_new).sum(1)
"""
EQUAL_SPACING = """
def next_place(x, y, candidates):
    return candidates[(candidates[:, None] - x).abs().amin(1).argmax()]
"""
LIBRARY = """
class Map(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.depth = torch.nn.Parameter(depth.clone())

    def forward(self, x):
        return 8.99 / torch.hypot(x - place, self.depth)

def next_place(x, y, candidates):
    head = mk.BayesianHead(Map(), features=6, noise=noise)
    head.prior_root.data = torch.eye(6)[None]
    belief = head.adapt(x[:, None], y[:, None])
    return candidates[mk.where_next(belief, candidates[:, None])]
"""
AN_INDEX = """
def next_place(x, y, candidates):
    return belief(x, y, candidates)[1].argmax()
"""
READINGS = """
half = []
while not half or half[-1] > factor * half[0]:
    at = torch.cat([x, stations.repeat(len(half) + 1)])
    variance = belief(at, torch.zeros(len(at)), torch.tensor([(left + right) / 2]))[1]
    half.append(1.96 * variance.sqrt().item())
rounds = [8 * len(half), half[-1]]
"""
SQUARE_ROOT = """
at = torch.cat([x, stations])
variance = belief(at, torch.zeros(len(at)), torch.tensor([(left + right) / 2]))[1]
rounds = [2, 1.96 * (variance.sqrt() / 2**0.5).item()]
"""

WRONG = {
    "no prior mean, readings for rounds": (
        {"posterior": NO_PRIOR_MEAN, "rounds": READINGS},
        3 + 5 + 2,
        "prior mean",
    ),
    "equal spacing": ({"next_place": EQUAL_SPACING}, 5 + 2.5 + 3, "forgoes"),
    "what where_next says": ({"next_place": LIBRARY}, 5 + 2.38 + 3, "forgoes"),
    "an index, and the square root of the rounds": (
        {"next_place": AN_INDEX, "rounds": SQUARE_ROOT},
        5 + 0 + 1,
        "not its index",
    ),
}
