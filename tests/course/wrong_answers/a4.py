"""Wrong answers to assignment 4: what replaces which cell, the points, and words of a reason."""

from __future__ import annotations

RUN = """
def run(theta, release):
    a, c = theta[..., 0], theta[..., 1]
    q, seen = release + 0 * a, []
    p, u, v, s, w = (torch.zeros_like(q) for _ in range(5))
    for k in range(1, n * every + 1):
        BODY
        if k % every == 0:
            seen.append(torch.stack([q, u, s], -1))
    return torch.stack(seen, -2)
"""
OLD_SPEED = (
    """q, u, s, p, v, w, pull = q + h * p, u + h * v, s + h * w, *after(q, p, u, v, s, w, a, c)"""
)
HELPER = """
def after(q, p, u, v, s, w, a, c):
    pull = a * torch.cos(q)
    return (
        p + h * (-a * torch.sin(q) - c * p),
        v + h * (-torch.sin(q) - pull * u - c * v),
        w + h * (-p - pull * s - c * w),
        pull,
    )

"""
DIRECT = """v, w = v + h * (-torch.sin(q) - c * v), w + h * (-p - c * w)
        p = p + h * (-a * torch.sin(q) - c * p)
        q, u, s = q + h * p, u + h * v, s + h * w"""
FROM_THE_SOFT_END = """
theta, loss = fit(readings, release, torch.tensor([2.0**2, 0.15]), 60)
best = theta
stiffness = best[0].item()
"""
BLIND = """
def starts(readings, release):
    return pool_theta.median(0).values.expand(len(release), 1, 2)
"""
COUNTED = """
def starts(readings, release):
    zeros = (readings[:, 1:].sign() != readings[:, :-1].sign()).sum(1)
    root = torch.pi * zeros / 8
    return torch.stack([root**2, torch.full_like(root, 0.15)], 1)[:, None]
"""
INTERVALS = """
def intervals(readings, release):
    theta, _ = fit(readings, release, starts(readings, release)[:, 0], 8)
    J = run(theta, release)[..., 1:]
    half = HALF
    return torch.stack([theta[:, 0] - half, theta[:, 0] + half], 1)
"""
COVARIANCE = "(sigma**2 * torch.linalg.inv(J.mT @ J))[:, 0, 0].sqrt()"

WRONG = {
    "the old speed": (
        {"run": HELPER + RUN.replace("BODY", OLD_SPEED)},
        1 + 3,
        "old speed",
    ),
    "slopes without the pull": ({"run": RUN.replace("BODY", DIRECT)}, 1 + 3, "depends on theta"),
    "a false valley": ({"stiffness": FROM_THE_SOFT_END}, 3 + 1 + 3 + 3, "a false valley"),
    "half the drag": ({"drag": "drag = best[1].item() / 2"}, 3 + 2 + 1 + 3 + 3, "half of it"),
    "one blind start": ({"starts": BLIND}, 3 + 2 + 2, "pendulums were found"),
    "zeros counted": ({"starts": COUNTED}, 3 + 2 + 2 + 2, "pendulums were found"),
    "one standard deviation": (
        {"intervals": INTERVALS.replace("HALF", COVARIANCE)},
        3 + 2 + 2 + 3,
        "intervals hold the truth",
    ),
    "95 % for 90 %": (
        {"intervals": INTERVALS.replace("HALF", "1.96 * " + COVARIANCE)},
        3 + 2 + 2 + 3 + 2,
        "intervals hold the truth",
    ),
    "the drag taken for known": (
        {"intervals": INTERVALS.replace("HALF", "1.645 * sigma / (J[..., 0] ** 2).sum(1).sqrt()")},
        3 + 2 + 2 + 3 + 1,
        "intervals hold the truth",
    ),
    "as wide as can be": (
        {"intervals": INTERVALS.replace("HALF", "1e6")},
        3 + 2 + 2 + 3,
        "narrower",
    ),
}
