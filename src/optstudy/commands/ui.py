"""The command `optstudy ui`."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from optstudy.errors import StudyError


def ui(port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 5000) -> None:
    """Open the MLflow UI on the right store, on 127.0.0.1."""
    from optstudy.records.credentials import shown_address
    from optstudy.records.databases import SERVERS
    from optstudy.records.live import opening
    from optstudy.records.mlflow_runs import MLFLOW, create_store

    _check_port(port)
    with opening(MLFLOW):
        store = create_store(Path("mlruns"))
    if store.startswith(SERVERS):
        raise StudyError(f"MLFLOW_TRACKING_URI: {shown_address(store)!r}: is a server: open its own UI in a browser")
    Path("mlruns").mkdir(exist_ok=True)
    os.environ["UVICORN_APP_DIR"] = sys.prefix  # by default uvicorn imports from the current folder
    os.environ["MLFLOW_BACKEND_STORE_URI"] = store  # everybody on the machine can read the arguments of a command
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)])


def _check_port(port: int) -> None:
    """Raise StudyError if the port cannot be listened on: MLflow's server would end with 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: a closed one needs no wait
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise StudyError(f"--port: {port}: {error.strerror}; choose another port") from error
