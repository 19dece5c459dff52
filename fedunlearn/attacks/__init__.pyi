from .attack import Attack as Attack
from .competition_score import Scoring as Scoring
from .competition_score import warnings as warnings
from .shadow_models import Setup as Setup
from .shadow_models import pools as pools
from .shadow_models import without as without
