"""No address and no message shows a credential."""

from __future__ import annotations

from pathlib import Path

import pytest

from optstudy.errors import StudyError
from optstudy.records.credentials import shown_address, without_credentials
from optstudy.records.databases import check_stores, optuna_storage, tracking_uri

# Addresses, and what none of their appearances may contain.
FORMS = {
    "http://alice:hunter2@127.0.0.1:5000": ["hunter2"],
    "https://alice:hunter2@host/path?x=1": ["hunter2"],
    "http://hunter2@host": ["hunter2"],
    "https://hunter2:@host:443/": ["hunter2"],
    "http://:hunter2@host": ["hunter2"],
    "http://host:5000?token=hunter2": ["hunter2"],
    "http://host/?access_token=hunter2&x=1": ["hunter2"],
    "https://host/api?api_key=hunter2": ["hunter2"],
    "https://bucket.host/x?X-Amz-Credential=AKIA7&X-Amz-Signature=hunter2": ["hunter2", "AKIA7"],
    "http://alice:hun/ter2@host": ["hun/ter2", "ter2"],
    "http://alice:hun@ter2@host": ["hun@ter2", "ter2"],
    "http://alice:hun:ter2@host": ["hun:ter2", "ter2"],
    "http://alice:hun#ter2@host": ["hun#ter2", "ter2"],
    "http://alice:hun?ter2@host": ["hun?ter2", "ter2"],
    "http://alice:hun%2Fter2@host": ["hun%2Fter2", "hun/ter2"],
    "postgresql://me:hunter2@host/name": ["hunter2"],
    "postgresql+psycopg2://me:hunter2@host:5432/name?sslmode=require": ["hunter2"],
    "postgresql://host/name?user=me&password=hunter2": ["hunter2"],
    "postgresql://host/name?sslpassword=hunter2&sslmode=require": ["hunter2"],
    "postgresql://me:hun%40ter2@host/name": ["hun%40ter2", "hun@ter2"],
    "mysql+pymysql://me:hunter2@host/name?ssl_key=/k.pem": ["hunter2"],
    "mysql://me:p w hunter2@host/name": ["hunter2"],
    "mssql+pyodbc://?odbc_connect=DRIVER%3D%7Bx%7D%3BUID%3Dme%3BPWD%3Dhunter2": ["hunter2"],
    "mssql+pyodbc:///?odbc_connect=DRIVER={x};UID=me;PWD={hun;ter2}": ["hun;ter2", "ter2"],
    "sqlite+pysqlcipher://:hunter2@/file.db": ["hunter2"],
    "sqlite:///file.db?key=hunter2": ["hunter2"],
    "databricks://hunter2:x@host": ["hunter2"],
    "s3://AKIA7:hunter2@bucket/x": ["hunter2"],
    "alice:hunter2@host": ["hunter2"],
}
# How libraries quote the address that they were given, or parts of it.
MESSAGES = (
    "API request to {address}/api/2.0/mlflow/experiments/get-by-name failed with exception",
    "Invalid url: {address}",
    "Failed to parse: {address}/api/2.0/mlflow/runs/create",
    "Could not connect to '{address}': connection refused",
    "(psycopg2.OperationalError) invalid dsn: password={secret} host=localhost",
    "Port could not be cast to integer value as '{secret}'",
    "Max retries exceeded with url: /?token={secret} (Caused by NewConnectionError)",
    'connection string "DRIVER=x;PWD={secret};UID=me"',
)
VARIABLES = ("MLFLOW_TRACKING_URI", "OPTSTUDY_OPTUNA_STORAGE")


@pytest.mark.parametrize("address", FORMS)
def test_an_address_is_shown_without_its_credentials(address: str) -> None:
    assert [secret for secret in FORMS[address] if secret in shown_address(address)] == []


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("address", FORMS)
def test_messages_of_libraries_are_shown_without_credentials(
    address: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, address)
    for message in MESSAGES:
        for secret in FORMS[address]:
            shown = without_credentials(message.format(address=address, secret=secret))
            assert [word for word in FORMS[address] if word in shown] == [], shown


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("address", FORMS)
def test_what_is_said_of_a_wrong_address_contains_no_credential(
    address: str, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, address)
    said = []
    for check in (tracking_uri, optuna_storage, check_stores):
        try:
            check(tmp_path)
        except StudyError as error:
            said.append(str(error))
    assert [secret for secret in FORMS[address] if secret in "\n".join(said)] == [], said


@pytest.mark.parametrize(
    "address", ["sqlite:///mlruns/mlflow.db", "http://localhost:5000", "mlruns", "file:./mlruns", "databricks"]
)
def test_an_address_that_holds_no_credential_is_shown(address: str) -> None:
    assert shown_address(address) == address


def test_credentials_that_libraries_read_from_the_environment_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    assert without_credentials("401 for hunter2, key wJalrXUtnFEMI") == "401 for ***, key ***"


def test_a_message_without_credentials_is_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://alice:hunter2@127.0.0.1:5000")
    message = "MlflowException: API request to http://127.0.0.1:5000/api failed: [Errno 111] Connection refused"
    assert without_credentials(message) == message
