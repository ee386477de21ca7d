"""Imports what workers need. Their fork server imports this module once, so that each worker starts with it."""

import atexit
import os
from importlib import import_module

os.environ.pop("MPLBACKEND", None)  # a notebook's backend fails where Lightning imports matplotlib
for name in ("sklearn.datasets", "optstudy.training.train"):  # scikit-learn holds the demo's data
    import_module(name)
atexit.register(os._exit, 0)  # the server has nothing to put away, and libraries would print warnings when it ends
