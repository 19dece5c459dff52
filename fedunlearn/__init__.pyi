# In a checkout simulations/ lies beside this folder, where no type checker follows.
from .simulations.simulate import simulate as simulate  # type: ignore[import-not-found]
from .simulations.simulation import Simulation as Simulation  # type: ignore[import-not-found]

__version__: str
