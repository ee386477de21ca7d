"""Masks credentials in addresses and messages: both end up in logs, on terminals and in reports of bugs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from urllib.parse import quote, unquote_plus

MASK = "***"
ADDRESSES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "OPTSTUDY_OPTUNA_STORAGE")  # variables
SECRET = r"[\w.-]*(?:pass|pwd|token|secret|sig|key|credential|auth|odbc_connect)[\w.-]*"  # names of what is secret
OPTION = re.compile(rf"(?i)(?<![\w.-]){SECRET}=(?P<value>\{{[^}}]*\}}|[^&;]*)")
# Addresses that can hold no credential: files, servers without a user, and single words.
PLAIN = re.compile(r"(?:sqlite(?:\+\w+)?:/{0,4}|file:)?[\w./~ -]*|https?://[\w.-]+(?::\d+)?/?")
# In any text: what stands before the @ of an address, and the values of options that are named like a secret.
PATTERNS = (
    (re.compile(r"(\w[\w+.-]*://)[^\s'\"<>]*@"), rf"\1{MASK}@"),
    (re.compile(rf"(?i)\b({SECRET}(?:=|%3D))(?:\{{[^}}]*\}}|[^\s&;'\",)%]|%(?!26|3B))*"), rf"\1{MASK}"),
)


def shown_address(address: str) -> str:
    """Return an address as messages show it: its scheme alone, unless it can hold no credential."""
    if PLAIN.fullmatch(address):
        return address
    scheme = re.match(r"[\w+.-]+://", address)
    return f"{scheme[0] if scheme else ''}{MASK}"


def without_credentials(text: str) -> str:
    """Return a text, such as the message of a library, with all credentials masked.

    They are those of the addresses in the environment, the values of its variables for secrets, and all text that looks
    like one.
    """
    for name in ADDRESSES:
        if address := os.environ.get(name):
            text = text.replace(address, shown_address(address))
    for secret in sorted(_known_secrets(), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", MASK, text)
    for pattern, masked in PATTERNS:
        text = pattern.sub(masked, text)
    return text


def _known_secrets() -> set[str]:
    """Return the credentials that the environment holds, each as it is and in percent-encoding."""
    addresses = [os.environ.get(name, "") for name in ADDRESSES]
    found = {secret for address in addresses if not PLAIN.fullmatch(address) for secret in _secrets_of(address)}
    for name, value in os.environ.items():
        if re.fullmatch(SECRET, name, re.IGNORECASE) and len(value) > 5:
            found.add(value)
    return {form for secret in found if secret for form in (secret, unquote_plus(secret), quote(secret, safe=""))}


def _secrets_of(address: str) -> Iterator[str]:
    """Yield the credentials of an address, and the parts at which libraries split one with a `/`, `:` or `@` in it.

    The user is one of them: some servers take a token for it.
    """
    rest = address.partition("://")[2] or address
    found = [*rest.rpartition("@")[0].split(":", 1)]
    found += [option["value"] for option in OPTION.finditer(unquote_plus(rest.partition("?")[2]))]
    for secret in found:
        yield secret
        yield from (part for part in re.split(r"[/:@?#;{}\s]+", secret) if len(part) > 2)
