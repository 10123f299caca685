"""Magnets: spins of +1 and -1 on a periodic square lattice, sampled cluster by cluster.

The energy of a snapshot s is ``-sum J_d s_i s_(i+d)`` over all sites i and bond directions d; a
coupling here is ``J_d / T``, the bond over the temperature, with Boltzmann's constant 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product

import numpy as np
import torch
from torch import Tensor

from mamlkit.checks import check_generator, count, fresh_generator, number
from mamlkit.errors import MamlkitError
from mamlkit.tasks.base import Physics, uniform
from mamlkit.tasks.labelled import Bank, Labelled, shuffled

Bond = tuple[int, int]
#: Steps (down, right) from a site to its neighbours: along the square, and along its diagonals too.
SQUARE: tuple[Bond, ...] = ((1, 0), (0, 1))
BONDS: tuple[Bond, ...] = (*SQUARE, (1, 1), (1, -1))
#: Where the infinite square lattice with J = 1 orders (Onsager 1944): sinh(2 / T) = 1.
T_CRITICAL = float(2 / np.log(1 + np.sqrt(2)))


def swendsen_wang(
    couplings: Tensor,
    side: int = 16,
    *,
    bonds: Sequence[Bond] = SQUARE,
    sweeps: int = 30,
    snapshots: int = 1,
    apart: int = 5,
    aligned: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Sample many magnets at once (Swendsen and Wang 1987, Phys. Rev. Lett. 58, 86).

    A bond that is content, ``J s_i s_j > 0``, holds its two spins together with the probability
    ``1 - exp(-2 |J| / T)``; then each cluster turns over as one, or not. A coupling may be
    negative: there a bond is content if its spins differ.

    Args:
        couplings: J / T of each chain and each bond direction, ``[chains, len(bonds)]``.
        side: sites of a side of the periodic lattice, three or more.
        bonds: steps (down, right) to the neighbours, each pair of neighbours once.
        sweeps: before the first snapshot of a chain.
        snapshots: of each chain, ``apart`` sweeps from one to the next. Those of one chain are not
            independent, chains are.
        aligned: start from all spins alike, else from random ones. (Near and below the critical
            temperature chains forget an aligned start sooner.)
        generator: fixes the chains; None draws anew.

    Returns snapshots as int8 ``[chains, snapshots, side, side]``.
    """
    strengths = _couplings(couplings, len(bonds))
    side, sweeps = count("side", side, least=3), count("sweeps", sweeps, least=0)
    snapshots, apart = count("snapshots", snapshots), count("apart", apart)
    rng = _numpy(check_generator(generator))
    shape = (len(strengths), side * side)
    spins = np.ones(shape, np.int8) if aligned else 2 * rng.integers(0, 2, shape, np.int8) - 1
    site = np.arange(side * side).reshape(side, side)
    steps = [np.roll(site, (-down, -right), (0, 1)).ravel() for down, right in bonds]
    neighbours = np.stack(steps, axis=1)  # [sites, bonds]
    kept = []
    for k in range(snapshots):
        for _ in range(apart if k else sweeps):
            spins = _sweep(spins, neighbours, strengths, rng)
        kept.append(torch.from_numpy(spins.reshape(-1, side, side)))
    return torch.stack(kept, dim=1)


def _sweep(
    spins: np.ndarray, neighbours: np.ndarray, couplings: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """One sweep of all chains, ``[chains, sites]``, as one graph with a component a cluster."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    chains, sites = spins.shape
    content = np.sign(couplings).astype(np.int8)[:, None]  # s_i s_j where a bond is content
    hold = -np.expm1(-2 * np.abs(couplings)).astype(np.float32)[:, None]
    held = spins[:, :, None] * spins.take(neighbours, axis=1) == content  # [chains, sites, bonds]
    held &= rng.random(held.shape, dtype=np.float32) < hold
    bond = np.flatnonzero(held)  # in order of chains, then sites
    chain, which = np.divmod(bond, neighbours.size)
    other = (sites * chain + neighbours.ravel()[which]).astype(np.int32)
    at_site = np.bincount(bond // neighbours.shape[1], minlength=spins.size)
    row = np.concatenate([[0], np.cumsum(at_site)]).astype(np.int32)
    graph = csr_array((np.ones(row[-1]), other, row), shape=2 * (spins.size,))
    n, cluster = connected_components(graph, directed=False)
    turn = 2 * rng.integers(0, 2, n, np.int8) - 1
    return spins * turn[cluster].reshape(chains, sites)


def kaufman_energy(temperature: float, side: int) -> float:
    """The exact mean energy a site of the periodic ``side x side`` lattice with J = 1.

    Minus the slope of log Z in K = 1/T, with Z of Kaufman 1949, Phys. Rev. 76, 1232, as written by
    Ferdinand and Fisher 1969, Phys. Rev. 185, 832: a sum of four products over the modes
    cosh(gamma_r) = cosh(2K)^2 / sinh(2K) - cos(pi r / n), r = 0 .. 2n - 1.
    """
    n = count("side", side, least=2)
    k = torch.tensor(1 / number("temperature", temperature, positive=True), dtype=torch.float64)
    k.requires_grad_()
    r = torch.arange(1, 2 * n, dtype=torch.float64)
    gamma = torch.acosh(torch.cosh(2 * k) ** 2 / torch.sinh(2 * k) - torch.cos(torch.pi * r / n))
    first = 2 * k + torch.log(torch.tanh(k))  # gamma_0, negative above the critical temperature
    a = n / 2 * torch.cat([first[None], gamma])  # [2n]
    # 2 cosh(a) = exp(a) (1 + exp(-2a)) and 2 sinh(a) = exp(a) (1 - exp(-2a)), which do not overflow
    parts = [
        half.sum()
        + torch.log((1 + torch.exp(-2 * half)).prod() + (1 - torch.exp(-2 * half)).prod())
        for half in (a[1::2], a[0::2])
    ]
    log_z = n * n / 2 * torch.log(2 * torch.sinh(2 * k)) + torch.logaddexp(*parts)
    (slope,) = torch.autograd.grad(log_z, k)
    return -float(slope) / n**2


def onsager_magnetisation(temperature: float) -> float:
    """The magnetisation a site of the infinite square lattice with J = 1, zero from
    :data:`T_CRITICAL` on: (1 - sinh(2/T)^-4)^(1/8) (Yang 1952, Phys. Rev. 85, 808).
    """
    t = number("temperature", temperature, positive=True)
    return float((1 - np.sinh(2 / t) ** -4.0) ** 0.125) if t < T_CRITICAL else 0.0


def structure_factor(x: Tensor) -> Tensor:
    """``S(k) = |sum_r s_r exp(i k r)|^2 / N`` of snapshots ``[.., h, w]`` at all wave vectors,
    ``[.., h, w]``: no shift of the lattice and no flip of all spins changes it.
    """
    return torch.fft.fft2(_real(x)).abs().square() / (x.shape[-1] * x.shape[-2])


def correlations(x: Tensor) -> Tensor:
    """C(r) = sum_i s_i s_(i+r) / N of snapshots ``[.., h, w]`` at all distances r on the torus,
    ``[.., h, w]``, by the Fourier transform of S(k). C(r) = C(-r); :func:`distances` names each
    pair once.
    """
    half = torch.fft.rfft2(_real(x))  # S(k) = S(-k)
    sites = x.shape[-1] * x.shape[-2]
    square = half.real.square() + half.imag.square()
    return torch.fft.irfft2(square / sites, s=x.shape[-2:])


def distances(side: int) -> Tensor:
    """The distances (down, right) on a torus ``side x side``, one of each pair r and -r, and not 0:
    int64 ``[n, 2]``, with n = 129 for ``side=16``.

    So ``correlations(x)[..., r[:, 0], r[:, 1]]``, with ``r = distances(side)``, are all there are.
    """
    return torch.tensor(_distances(count("side", side, least=2)))


@lru_cache(8)
def _distances(n: int) -> list[tuple[int, int]]:
    """Plain numbers, so that a step of training can be captured."""
    both = product(range(n), range(n))
    return [r for r in both if (0, 0) < r <= (-r[0] % n, -r[1] % n)]


def pair_correlations(x: Tensor) -> Tensor:
    """The correlations at :func:`distances`, of snapshots ``[.., 1, side, side]``: ``[.., n]``."""
    down, right = distances(x.shape[-1]).T
    return correlations(x[..., 0, :, :])[..., down, right]


def root_structure_factor(x: Tensor) -> Tensor:
    """The root of S(k), of snapshots ``[.., 1, side, side]``: ``[.., side^2]``."""
    return structure_factor(x[..., 0, :, :]).sqrt().flatten(-2)


class WhichMagnet(Bank):
    """Two unknown paramagnets: which of them made this snapshot? A magnet has a coupling
    ``J_d / T`` of its own on each of the four :data:`BONDS`, and a task is about two magnets, told
    apart by ``shots`` snapshots of each, ``[1, side, side]``. Spins alone say nothing, since a
    snapshot and its negative are as likely; the correlations at the four bonds say all there is.

    The magnets are a bank, split into "train", "validation" and "test"; the snapshots of a magnet
    are made once, by eight chains. ``physics["classes"]``, ``[n_tasks, 2]``, names the magnets of
    a task, whose ``couplings`` are ``[magnets, 4]``.

    Args:
        magnets: how many for training, validation and test.
        snapshots: of each magnet; a multiple of eight.
        side: sites of a side.
        strength: couplings are drawn from U(-strength, strength).
        seed: fixes the magnets and their snapshots.
    """

    def __init__(
        self,
        magnets: tuple[int, int, int] = (300, 100, 100),
        snapshots: int = 64,
        side: int = 16,
        strength: float = 0.22,
        seed: int = 0,
    ) -> None:
        sizes = [count("magnets", n, least=2) for n in magnets]
        strength = number("strength", strength, positive=True)
        self.couplings, x = _paramagnets(
            sum(sizes), count("snapshots", snapshots), count("side", side, least=3), strength, seed
        )
        parts = ("train", "validation", "test")
        split = [part for part, n in zip(parts, sizes, strict=True) for _ in range(n)]
        super().__init__(x, split=split)

    def examples(
        self, physics: Physics, shots: int, queries: int, generator: torch.Generator
    ) -> Tensor:
        """Snapshots of each magnet, ``[n_tasks, 2, shots + queries, 1, side, side]``."""
        return super().examples(physics, shots, queries, generator).double()


class Ferromagnets(Labelled):
    """What :class:`WhichPhase` and :class:`HiddenGauge` share: snapshots of the square ferromagnet
    at temperatures from half to twice :data:`T_CRITICAL`, made once for each part, each by a chain
    of its own; a task sees them through a mask of signs. Of a class that is ordered, or disordered,
    temperatures are uniform below, or above, :data:`T_CRITICAL`.

    Args:
        snapshots: how many there are for "train"; "validation" and "test" have half as many.
        side: sites of a side, a multiple of four.
        far: take the support from below 0.8 and above 1.3 times :data:`T_CRITICAL` alone; the query
            is from all temperatures.
        seed: fixes the snapshots.
    """

    parts = dict.fromkeys(("train", "validation", "test"))

    def __init__(
        self, snapshots: int = 4000, side: int = 16, far: bool = True, seed: int = 0
    ) -> None:
        self.snapshots, self.far = count("snapshots", snapshots, least=100), far
        self.side, self.seed = count("side", side, least=4), count("seed", seed, least=0)
        if self.side % 4:
            raise MamlkitError(
                f"side={side}, but patterns repeat every four sites; give 8, 12, 16."
            )
        self.part = "train"

    def restrict(self, part: str) -> None:
        """Take the snapshots of a part."""
        self.part = part

    def ferromagnet(self) -> tuple[Tensor, Tensor]:
        """The snapshots of this part, in order of temperature: ``[n]`` and int8
        ``[n, side, side]``.
        """
        place = ("train", "validation", "test", "named").index(self.part)
        place = min(place, 2)  # what is named is on the test's snapshots
        n = self.snapshots if place == 0 else self.snapshots // 2
        seed = 10 * self.seed + place
        return _ferromagnets(n, self.side, seed)

    def seen(
        self, shape: tuple[int, ...], ordered: bool, shots: int, generator: torch.Generator
    ) -> Tensor:
        """Snapshots of the ferromagnet below (``ordered``) or above :data:`T_CRITICAL`, int8
        ``[*shape, side, side]``; the first ``shots`` along the last axis of ``shape`` far from it,
        if that is asked for.
        """
        temperatures, snapshots = self.ferromagnet()
        near = int((temperatures < T_CRITICAL).sum())
        edge = int((temperatures < (0.8 if ordered else 1.3) * T_CRITICAL).sum())
        n = len(temperatures)
        everywhere, far = ((0, near), (0, edge)) if ordered else ((near, n), (edge, n))
        u = torch.rand(shape, generator=generator, dtype=torch.float64)
        first = (torch.arange(shape[-1]) < shots) & torch.tensor(self.far)
        low = torch.where(first, far[0], everywhere[0])
        high = torch.where(first, far[1], everywhere[1])
        return snapshots[(low + u * (high - low)).long()]


class WhichPhase(Ferromagnets):
    """Which phase? Three classes: ordered in a first pattern, ordered in a second, disordered. The
    patterns are cells of 4 x 4 spins that repeat over the lattice (:func:`patterns`), and a magnet
    of a pattern is the ferromagnet with its spins turned where the pattern is -1: that leaves
    energies, and the critical temperature, as they are. Patterns come at any shift; disordered
    snapshots are of one of the two.

    ``physics["patterns"]``, ``[n_tasks, 2]``, holds the numbers of the two. The parts "train",
    "validation" and "test" have different patterns (1400, 280 and 420) and different snapshots;
    "named" has the eight of :data:`NAMED`, which no other part has, on the test's snapshots. As
    made, it is "train". Settings are those of :class:`Ferromagnets`.
    """

    ways = 3
    parts = dict.fromkeys(("train", "validation", "test", "named"))

    def draw(self, n_tasks: int, generator: torch.Generator) -> Physics:
        """Two different patterns a task."""
        own = torch.tensor([part == self.part for part in _parts_of_patterns()]).nonzero()[:, 0]
        return {"patterns": own[shuffled(n_tasks, len(own), 2, generator)]}

    def examples(
        self, physics: Physics, shots: int, queries: int, generator: torch.Generator
    ) -> Tensor:
        """Snapshots of the three classes, ``[n_tasks, 3, shots + queries, 1, side, side]``."""
        n_tasks, n = len(physics["patterns"]), shots + queries
        shape = (n_tasks, 1, n)
        cold = self.seen((n_tasks, 2, n), True, shots, generator)
        hot = self.seen(shape, False, shots, generator)
        pair = physics["patterns"].long()[..., None].expand(-1, -1, n)  # [n_tasks, 2, n]
        either = torch.randint(2, shape, generator=generator)
        which = torch.cat([pair, pair.gather(1, either)], 1)  # [n_tasks, 3, n]
        return self.dressed(torch.cat([cold, hot], 1), which, generator)

    def dressed(self, snapshots: Tensor, which: Tensor, generator: torch.Generator) -> Tensor:
        """Snapshots ``[.., side, side]`` in the patterns of these numbers ``[..]``, at random
        shifts: float64 ``[.., 1, side, side]``.
        """
        down, right = (torch.randint(4, which.shape, generator=generator) for _ in range(2))
        site = torch.arange(self.side)
        rows = (site + down[..., None])[..., :, None] % 4
        columns = (site + right[..., None])[..., None, :] % 4
        mask = patterns()[which[..., None, None], rows, columns]  # [.., side, side]
        return (snapshots * mask).double()[..., None, :, :]


class HiddenGauge(Ferromagnets):
    """Is it ordered, behind a mask of signs on every site? (Mattis 1976, Phys. Lett. A 56, 421: a
    magnet with couplings xi_i xi_j is the ferromagnet with its spins turned where xi_i = -1.) One
    snapshot looks like noise, whatever its temperature; two ordered ones of the same mask agree, or
    disagree, on most sites.

    Labels are 0, disordered, and 1, ordered, in all tasks; ``physics["gauge"]``,
    ``[n_tasks, side, side]``, holds the mask, drawn anew for each task. The parts differ in the
    snapshots of the ferromagnet behind it; as made, it is "train". Settings are those of
    :class:`Ferromagnets`.
    """

    permuted = False

    def draw(self, n_tasks: int, generator: torch.Generator) -> Physics:
        """A mask of signs a task."""
        shape = (n_tasks, self.side, self.side)
        return {"gauge": 2 * torch.randint(2, shape, generator=generator) - 1}

    def examples(
        self, physics: Physics, shots: int, queries: int, generator: torch.Generator
    ) -> Tensor:
        """Snapshots of the two classes, ``[n_tasks, 2, shots + queries, 1, side, side]``."""
        shape = (len(physics["gauge"]), 1, shots + queries)
        both = [self.seen(shape, ordered, shots, generator) for ordered in (False, True)]
        mask = physics["gauge"].double()[:, None, None]  # [n_tasks, 1, 1, side, side]
        return (mask * torch.cat(both, 1))[..., None, :, :]


#: Patterns with a name: cells of 4 x 4 spins, row by row.
NAMED = {
    "ferromagnet": "++++ ++++ ++++ ++++",
    "checkerboard": "+-+- -+-+ +-+- -+-+",
    "rows": "++++ ---- ++++ ----",
    "columns": "+-+- +-+- +-+- +-+-",
    "double rows": "++++ ++++ ---- ----",
    "double columns": "++-- ++-- ++-- ++--",
    "blocks": "++-- ++-- --++ --++",
    "staircase": "++-- -++- --++ +--+",
}


@lru_cache(1)
def patterns() -> Tensor:
    """All cells of 4 x 4 spins that no shift and no flip of all spins turns into one another: int8
    ``[2108, 4, 4]``, those of :data:`NAMED` first, in their order.
    """
    number = torch.arange(2**16)
    bits = number[:, None] >> torch.arange(16) & 1
    cells = (2 * bits - 1).to(torch.int8).reshape(-1, 4, 4)
    least = _least(cells)
    named = _least(torch.stack([cell_of(text) for text in NAMED.values()]))
    rest = number[(least == number) & ~torch.isin(number, named)]
    return cells[torch.cat([named, rest])]


def cell_of(text: str) -> Tensor:
    """A cell from its text, such as those of :data:`NAMED`: int8 ``[4, 4]``."""
    rows = [[1 if sign == "+" else -1 for sign in row] for row in text.split()]
    return torch.tensor(rows, dtype=torch.int8)


def _least(cells: Tensor) -> Tensor:
    """The least number that a shift or a flip of each cell ``[n, 4, 4]`` has, ``[n]``."""
    weight = 2 ** torch.arange(16)
    twins = [
        (sign * cells.roll((down, right), (1, 2)) > 0).flatten(1).long() @ weight
        for down in range(4)
        for right in range(4)
        for sign in (1, -1)
    ]
    return torch.stack(twins).amin(0)


@lru_cache(1)
def _parts_of_patterns() -> list[str]:
    """The part of each pattern."""
    rest = ["train"] * 1400 + ["validation"] * 280 + ["test"] * 420
    order = torch.randperm(len(rest), generator=fresh_generator(0)).tolist()
    return ["named"] * len(NAMED) + [rest[i] for i in order]


@lru_cache(4)
def _paramagnets(
    n: int, snapshots: int, side: int, strength: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Couplings ``[n, 4]`` and snapshots, int8 ``[n, snapshots, 1, side, side]``."""
    chains = 8
    if snapshots % chains:
        raise MamlkitError(f"snapshots={snapshots} must be a multiple of {chains}.")
    generator = fresh_generator(count("seed", seed, least=0))
    couplings = uniform((n, len(BONDS)), -strength, strength, generator)
    x = swendsen_wang(
        couplings.repeat_interleave(chains, 0),
        side,
        bonds=BONDS,
        sweeps=20,  # correlations of energies are gone after three sweeps, in nearly all magnets
        snapshots=snapshots // chains,
        apart=5,
        generator=generator,
    )
    return couplings, x.reshape(n, snapshots, 1, side, side)


@lru_cache(8)
def _ferromagnets(n: int, side: int, seed: int) -> tuple[Tensor, Tensor]:
    """Temperatures ``[n]``, in order, and snapshots, int8 ``[n, side, side]``."""
    generator = fresh_generator(seed)
    half = uniform(n - n // 2, 0.5, 1.0, generator), uniform(n // 2, 1.0, 2.0, generator)
    temperatures = T_CRITICAL * torch.cat(half).sort().values
    couplings = (1 / temperatures)[:, None].expand(-1, len(SQUARE))
    x = swendsen_wang(couplings, side, sweeps=30, aligned=True, generator=generator)
    return temperatures, x[:, 0]


def _couplings(couplings: Tensor, n: int) -> np.ndarray:
    """J / T as float64 ``[chains, n]``."""
    given = torch.as_tensor(couplings, dtype=torch.float64)
    if given.ndim != 2 or given.shape[1] != n or not given.isfinite().all():
        raise MamlkitError(
            f"couplings have shape {list(given.shape)}; give finite numbers J / T for each chain "
            f"and each of the {n} bond directions, [chains, {n}]."
        )
    return given.numpy()


def _numpy(generator: torch.Generator) -> np.random.Generator:
    """A generator of NumPy's, seeded by four draws of torch's."""
    seed = torch.randint(2**31, (4,), generator=generator)
    return np.random.default_rng(seed.tolist())


def _real(x: Tensor) -> Tensor:
    """Snapshots as real numbers; spins come as whole ones."""
    return x if x.is_floating_point() else x.to(torch.get_default_dtype())
