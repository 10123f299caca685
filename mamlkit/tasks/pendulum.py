"""The pendulum: one length a task, known by its exact solution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mamlkit.checks import interval, number
from mamlkit.errors import MamlkitError
from mamlkit.tasks.base import Physics, TaskBatch, uniform
from mamlkit.tasks.trajectories import Trajectories, TrajectoryFamily, of_each

GRAVITY = 9.81  # m/s^2
#: Lengths in m. 10 m is longer than any in training; its g/l, 0.98, lies beyond theirs, 1.09..9.81.
LENGTHS: dict[str, tuple[float, ...]] = {
    "train": (1.0, 3.0, 5.0, 7.0, 9.0),
    "validation": (1.5, 2.5, 4.5, 7.5),
    "test": (2.0, 4.0, 6.0, 8.0, 10.0, 3.5, 5.1, 6.9),
}
#: Angles of release in rad: seen in training, just beyond, and far beyond.
AMPLITUDES = {"in-range": (0.8, 1.6), "edge": (1.6, 1.9), "out-of-range": (1.9, 2.5)}


class Pendulum(TrajectoryFamily):
    """q'' = -(g/l) sin q, released from rest (experiment E4). The state is (q, p): the angle in rad
    and p = q' in rad/s. Mass and length are scaled out, so energies are per unit of inertia, in
    1/s^2: E = p^2/2 - (g/l) cos q. Recorded ten times a second for 5 s; the support is the first
    2 s of a trajectory.

    The solution is exact, by Jacobi's elliptic functions: sin(q/2) = k sn(u), p = 2 k w cn(u), with
    u = w t + u0, w^2 = g/l and k^2 = sin^2(q0/2) + (p0/2w)^2 < 1 (Landau and Lifshitz, Mechanics,
    section 11). With drag or a spring it is integrated.

    Args:
        lengths: in m; each task has one of them. :meth:`split` sets those of a part.
        amplitude: the angle of release is drawn from this interval, rad, on either side.
        noise: standard deviation of the noise on the support, as a fraction of the largest angle
            and of the largest speed of each trajectory.
        drag: a foreign law for a learner of pendulums: -drag p is added to p', 1/s.
        spring: another: sin q gives way to q + q^3, a hardening spring (Duffing).

    Example::

        train = mk.tasks.Pendulum()
        test = mk.tasks.Pendulum(noise=0.02).split("test")
    """

    d_in = d_out = 2
    times = torch.linspace(0, 5, 51, dtype=torch.float64)
    support_times = 21
    x_label, y_label = "time t [s]", "angle q [rad]"
    parts = LENGTHS

    def __init__(
        self,
        lengths: Sequence[float] = LENGTHS["train"],
        amplitude: tuple[float, float] = AMPLITUDES["in-range"],
        noise: float = 0.0,
        drag: float = 0.0,
        spring: bool = False,
    ) -> None:
        self.lengths = [number("length", length, positive=True) for length in lengths]
        self.amplitude = interval("amplitude", amplitude)
        if not self.lengths or not 0 < self.amplitude[0] < self.amplitude[1] < torch.pi:
            raise MamlkitError(
                f"a pendulum needs at least one length and amplitudes between 0 and pi, but "
                f"lengths={self.lengths} and amplitude={self.amplitude} were given."
            )
        self.noise, self.drag, self.spring = number("noise", noise), number("drag", drag), spring

    def restrict(self, part: str) -> None:
        """Take the lengths of a part."""
        self.lengths = list(LENGTHS[part])

    def draw(self, n_tasks: int, generator: torch.Generator) -> Physics:
        """The length (m) and what the motion depends on, g/l (1/s^2), each ``[n_tasks]``."""
        which = torch.randint(len(self.lengths), (n_tasks,), generator=generator)
        length = torch.tensor(self.lengths, dtype=torch.float64)[which]
        return {"length": length, "g_over_l": GRAVITY / length}

    def starts(self, n_tasks: int, n: int, generator: torch.Generator) -> Tensor:
        """Released from rest, on either side: ``[n_tasks, n, 2]``."""
        q = uniform((n_tasks, n), *self.amplitude, generator)
        q = (2 * torch.randint(2, (n_tasks, n), generator=generator) - 1) * q
        return torch.stack([q, torch.zeros_like(q)], dim=-1)

    def field(self, y: Tensor, physics: Physics) -> Tensor:
        """(q', p') = (p, -(g/l) sin q), and what is foreign."""
        q, p = y[..., :1], y[..., 1:]
        pull = q + q**3 if self.spring else torch.sin(q)
        return torch.cat([p, -physics["g_over_l"] * pull - self.drag * p], dim=-1)

    def energy(self, y: Tensor, g_over_l: Tensor) -> Tensor:
        """p^2/2 - (g/l) cos q of states ``[.., 2]``, 1/s^2; ``g_over_l`` broadcasts with ``[..]``.
        At rest at the bottom it is -g/l, upright g/l.
        """
        q, p = y[..., 0], y[..., 1]
        return p**2 / 2 - g_over_l * torch.cos(q)

    def period(self, amplitude: Tensor, g_over_l: Tensor) -> Tensor:
        """Exact period in s: 4 K(sin^2(amplitude/2)) / w."""
        from scipy.special import ellipk

        quarter = torch.as_tensor(ellipk((torch.sin(amplitude.double() / 2) ** 2).numpy()))
        return 4 * quarter / g_over_l.sqrt()

    def solve(self, y0: Tensor, physics: Physics, times: Tensor | None = None) -> Tensor:
        """The exact solution, ``[n_tasks, n, T, 2]``; integrated where the pendulum turns over, or
        where it obeys another law.
        """
        from scipy.special import ellipj, ellipkinc

        w = physics["g_over_l"].double().sqrt()[:, None]  # [n_tasks, 1]
        half, speed = torch.sin(y0[..., 0].double() / 2), y0[..., 1].double() / (2 * w)
        m = half**2 + speed**2  # k^2, [n_tasks, n]
        if self.drag or self.spring or bool((m >= 1).any()):
            return super().solve(y0, physics, times)
        t = (self.times if times is None else times).double()
        t = of_each(t)
        u0 = torch.as_tensor(ellipkinc(torch.atan2(half, speed).numpy(), m.numpy()))
        u = w[..., None] * (t - t[..., :1]) + u0[..., None]  # [n_tasks, n, T]
        sn, cn, _, _ = map(torch.as_tensor, ellipj(u.numpy(), m[..., None].numpy()))
        k = m.sqrt()[..., None]
        return torch.stack([2 * torch.asin(k * sn), 2 * k * w[..., None] * cn], dim=-1)

    def as_batch(
        self, data: Trajectories, physics: Physics, shots: int, generator: torch.Generator
    ) -> TaskBatch:
        """The first ``shots`` trajectories, cut after 2 s and noisy, as support."""
        support, query, physics = super().as_batch(data, physics, shots, generator)
        t, y, dy = support
        early = slice(self.support_times)
        return TaskBatch(Trajectories(t[:, early], y[:, :, early], dy[:, :, early]), query, physics)

    def _noisy(self, y: Tensor, generator: torch.Generator) -> Tensor:
        largest = y.abs().amax(dim=-2, keepdim=True)  # of each trajectory, [n_tasks, n, 1, 2]
        noise = torch.randn(y.shape, generator=generator, dtype=y.dtype)
        return y + self.noise * largest * noise if self.noise else y
