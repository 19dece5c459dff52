from .log import Log as Log
from .log import Logger as Logger
from .log import replay as replay
from .mlflow import MlFlow as MlFlow
from .no_logger import NoLogger as NoLogger
from .no_logger import Silent as Silent
from .tensorboard import TensorBoard as TensorBoard
