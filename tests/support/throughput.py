"""What stands for an engine whose throughput is measured."""

import os
import threading
from multiprocessing import Pipe

from benchmarks import (
    processes,
)
from benchmarks.processes import Player


class Threaded(Player):
    """A player in a thread of this process."""

    def __init__(self, function, **arguments):
        self._function = function
        self._pipe, theirs = Pipe()
        self._thread = threading.Thread(target=processes._play, args=(theirs, function, arguments))
        self._thread.start()

    @property
    def pid(self):
        return os.getpid()

    def close(self):
        self._pipe.close()
        self._thread.join()
