"""Imports what workers need. Their fork server imports this module once, so that each worker starts with it."""

import atexit
import os
import signal
import warnings
from importlib import import_module

COORDINATOR = os.getppid()


def _end_if_orphaned(_number: int, _frame: object) -> None:
    if os.getppid() != COORDINATOR:
        os._exit(1)


os.environ.pop("MPLBACKEND", None)  # a notebook's backend fails where Lightning imports matplotlib
warnings.simplefilter("ignore")  # they would be printed between the progress bars, by each worker
# The imports take seconds, and the server does not see meanwhile that its coordinator was killed.
signal.signal(signal.SIGALRM, _end_if_orphaned)
signal.setitimer(signal.ITIMER_REAL, 0.5, 0.5)
for name in ("sklearn.datasets", "optstudy.training.train"):  # scikit-learn holds the demo's data
    import_module(name)
signal.setitimer(signal.ITIMER_REAL, 0)
signal.signal(signal.SIGALRM, signal.SIG_DFL)
atexit.register(os._exit, 0)  # the server has nothing to put away, and libraries would print warnings when it ends
