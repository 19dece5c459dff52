from . import doctor as doctor
from .cost_table import ESTIMATE_LEGEND as ESTIMATE_LEGEND
from .cost_table import estimated_costs as estimated_costs
from .dry_run import estimate as estimate
from .throughput import Speed as Speed
from .throughput import measure as measure
from .timing import Pace as Pace
