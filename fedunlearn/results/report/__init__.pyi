from .evidence import Capability as Capability
from .evidence import Declared as Declared
from .writing import write as write
