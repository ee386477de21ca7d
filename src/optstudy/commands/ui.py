"""The command `optstudy ui`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from optstudy.errors import StudyError

# Run by another process, because this one becomes the server.
OPEN_WHEN_READY = """
import sys, time, urllib.request, webbrowser
for _ in range(120):
    try:
        urllib.request.urlopen(sys.argv[1], timeout=5).close()
        webbrowser.open(sys.argv[1])
        break
    except OSError:
        time.sleep(1)
"""


def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 5000,
    open_page: Annotated[bool, typer.Option("--open", help="Open the first study in a browser.")] = False,
) -> None:
    """Serve MLflow's UI on 127.0.0.1, and print a link to each study. Of a server, print the links only."""
    from optstudy.records.credentials import shown_address
    from optstudy.records.databases import HTTP, SERVERS
    from optstudy.records.live import opening
    from optstudy.records.mlflow_runs import MLFLOW, create_store
    from optstudy.records.mlflow_ui.links import address_of, pages
    from optstudy.records.ownership import read_project

    root = Path("mlruns")
    with opening(MLFLOW):
        store = create_store(root)
    if store.startswith(SERVERS) and not store.startswith(HTTP):
        raise StudyError(f"MLFLOW_TRACKING_URI: {shown_address(store)!r}: is a server: open its own UI in a browser")
    is_server = store.startswith(HTTP)
    address = address_of(store) if is_server else f"http://127.0.0.1:{port}"
    if not is_server:
        _check_port(port)
    with opening(MLFLOW):
        found = pages(store, address, read_project(root))
    _print_links(address, found)
    first = next(iter(found.values()), address)
    if is_server:
        if open_page:
            typer.launch(first)
        return
    if open_page:
        subprocess.Popen([sys.executable, "-c", OPEN_WHEN_READY, first])
    root.mkdir(exist_ok=True)
    os.environ["UVICORN_APP_DIR"] = sys.prefix  # by default uvicorn imports from the current folder
    os.environ["MLFLOW_BACKEND_STORE_URI"] = store  # everybody on the machine can read the arguments of a command
    serve = ["-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    os.execv(sys.executable, [sys.executable, *serve])


def _print_links(address: str, found: Mapping[str, str]) -> None:
    """Print the server's address, and a link to each study; MLflow's own start page shows none of them."""
    typer.echo(f"MLflow: {address}")
    for name, page in found.items():
        typer.echo(f"  {name}: {page}")
    if not found:
        typer.echo("  no study yet: optstudy run STUDY.yaml writes one")
    sys.stdout.flush()


def _check_port(port: int) -> None:
    """Raise StudyError if the port cannot be listened on: MLflow's server would end with 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: a closed one needs no wait
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise StudyError(f"--port: {port}: {error.strerror}; choose another port") from error
