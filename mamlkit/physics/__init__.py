"""Physics as models and losses: fields, simulators, differential equations, discovery."""

from mamlkit.physics import discovery, pde, relaxation
from mamlkit.physics.fields import Hamiltonian, PerCapita
from mamlkit.physics.simulators import Simulator

__all__ = ["Hamiltonian", "PerCapita", "Simulator", "discovery", "pde", "relaxation"]
