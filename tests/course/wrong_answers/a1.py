"""Wrong answers to assignment 1: what replaces which cell, the points, and words of a reason."""

from __future__ import annotations

FIRST_ORDER = """
def meta_gradient(support, query, theta, alpha, steps):
    for _ in range(steps):
        theta = theta - alpha * grad(support)(theta)
    return grad(query)(theta)
"""
FROM_THE_START = """
def meta_gradient(support, query, theta, alpha, steps):
    factor = torch.eye(2) - alpha * jacrev(grad(support))(theta)
    for _ in range(steps):
        theta = theta - alpha * grad(support)(theta)
    return torch.linalg.matrix_power(factor, steps) @ grad(query)(theta)
"""
RADIANS = """
adapted = start
for _ in range(3):
    adapted = adapted - alpha * grad(support_loss)(adapted)
first_order = grad(query_loss)(adapted)
exact = meta_gradient(support_loss, query_loss, start, alpha, 3)
angle = torch.acos(torch.nn.functional.cosine_similarity(exact, first_order, dim=0)).item()
"""

WRONG = {
    "first order for exact": ({"meta_gradient": FIRST_ORDER}, 1 + 3, "first order"),
    "one Hessian for all": ({"meta_gradient": FROM_THE_START}, 3 + 3, "of the start"),
    "radians": ({"angle": RADIANS}, 6 + 2 + 3, "radians"),
    "half the step": (
        {"uphill": "uphill = 0.5 / jacrev(grad(support_loss))(start)[0, 0].item()"},
        6 + 3 + 2,
        "factor 2",
    ),
}
