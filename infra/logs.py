"""Logging to standard error: lines for people, or a JSON object a line for machines. Secrets that the process knows are never written."""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from infra import context
from infra.settings import Settings

TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"
CHATTY = ("botocore", "boto3", "urllib3", "httpx", "httpcore", "prefect", "numba", "apprise", "aiosqlite", "asyncio", "websockets", "PIL")
SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "OTEL_EXPORTER_OTLP_HEADERS")
SHORTEST = 6  # characters: a shorter secret is found in ordinary words


class Carried(logging.Filter):
    """Gives every record what its thread works on (infra/context.py)."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Every record passes."""
        for name, value in context.now().items():
            if not hasattr(record, name):
                setattr(record, name, value)
        return True


class Discreet(logging.Formatter):
    """Another formatter's line without the secrets that are known."""

    def __init__(self, inner: logging.Formatter, secrets: set[str]) -> None:
        super().__init__()
        self.inner = inner
        self.secrets = sorted({form for secret in secrets for form in (secret, json.dumps(secret)[1:-1])}, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """The line, traces of errors included."""
        line = self.inner.format(record)
        for secret in self.secrets:
            line = line.replace(secret, "***")
        return line


def secrets_of(settings: Settings) -> set[str]:
    """What must not be written: secret settings, whole and word by word, passwords in their URLs, and credentials of the environment."""
    values = [value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)]
    values += [os.environ.get(name, "") for name in SECRETS]
    words = {word for value in values for word in (value, *value.split())}
    for word in tuple(words):
        try:
            password = urlsplit(word).password or ""
        except ValueError:  # no URL
            continue
        words |= {password, unquote(password)}
    return {word for word in words if len(word) >= SHORTEST}


def formatter(settings: Settings) -> logging.Formatter:
    """How a record is written, by DUBWRIGHT_LOG_FORMAT."""
    inner: logging.Formatter = logging.Formatter(TEXT)
    if settings.log_format == "json":
        from pythonjsonlogger.json import JsonFormatter

        names: dict[str, Any] = {"levelname": "level", "name": "logger"}
        inner = JsonFormatter("%(levelname)s %(name)s %(message)s", rename_fields=names, timestamp="time", json_ensure_ascii=False)
    return Discreet(inner, secrets_of(settings))


_QUIET: list[Path] = []  # where it goes in this process


def quiet_native_code(log: Path) -> None:
    """Send what native libraries write to standard error into a file; Python keeps the terminal. Where it cannot be written all stays as it is.

    Once a process: a second time the file would be taken for the terminal.
    """
    if _QUIET:
        return
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError:
        return  # `dubwright doctor` tells of the folder
    _QUIET.append(log)
    terminal = os.dup(2)
    os.dup2(sink, 2)
    os.close(sink)
    sys.stderr = os.fdopen(terminal, "w", buffering=1, errors="replace")


def set_up_logging(settings: Settings) -> None:
    """One line a record on standard error, from here on, whoever set logging up before."""
    handler = logging.StreamHandler()
    handler.addFilter(Carried())
    handler.setFormatter(formatter(settings))
    level = settings.log.upper()
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(settings.log_format == "json")
    for chatty in CHATTY:
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelName(level)))
