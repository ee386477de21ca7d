"""What workers are forked from: imported by their server process alone, once for all of them.

Nothing is looked through for garbage while the imports make objects that stay, and these never are again, so that
their pages remain shared (as Python's documentation of `gc.freeze` has it). A worker turns the collector on.
"""

import atexit
import gc
import os
from importlib import import_module

gc.disable()
# scikit-learn has the demo's data; the server is ready before the coordinator is, with it as well.
for name in ("sklearn.datasets", "optstudy.training.train"):
    import_module(name)
gc.freeze()
atexit.register(os._exit, 0)  # the server has nothing to put away, and libraries would lament what it leaves
