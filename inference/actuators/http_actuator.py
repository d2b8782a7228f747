"""Firings as HTTP POST requests of one JSON object, sent by a thread of its own. Redirections are not followed."""

import http.client
from collections.abc import Callable
from typing import Literal
from urllib.parse import quote, urlsplit

from pydantic import Field, field_validator

from ...streaming.messages import Decision
from ...sync.errors import ActuatorError
from .firing_text import firing_json
from .send_worker import CANCELLED, Outcome
from .tcp_actuator import SendingActuator, WaitingConfig

_GOOD = range(200, 300)
_MAX_ANSWER_BYTES = 65536


class HttpActuatorConfig(WaitingConfig):
    """One request per firing.

    Attributes:
        url: ``http://HOST[:PORT]/PATH``; another host than this machine only where it is named here.
    """

    kind: Literal["http"] = "http"
    url: str = Field(min_length=8)

    @field_validator("url")
    @classmethod
    def _is_plain_http(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.fragment:
            raise ValueError("give http://HOST[:PORT]/PATH, or https, without a user name")
        _ = parts.port  # raises ValueError where it is no number
        try:
            parts.hostname.encode("idna")
        except UnicodeError as error:
            raise ValueError(f"{parts.hostname} cannot be the name of a host ({error})") from error
        for character in f"{parts.path}?{parts.query}":
            if not "!" <= character <= "~":
                raise ValueError(f"path and query cannot hold {character!r}; write it as {quote(character)}")
        return url


class HttpActuator(SendingActuator):
    """POSTs each firing; an answer of 200 to 299 acknowledges it. Every request has a connection of its own."""

    def __init__(self, name: str, config: HttpActuatorConfig) -> None:
        parts = urlsplit(config.url)
        assert parts.hostname is not None
        self._host, self._port = parts.hostname, parts.port
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._url = config.url
        super().__init__(name, config)

    def _send(self, decision: Decision, still_wanted: Callable[[], bool]) -> Outcome | None:
        connection = self._kind(self._host, self._port, timeout=self._timeout_s)
        try:
            body = firing_json(decision, self.name)
            connection.connect()
            # Connecting may have taken its time.
            if not still_wanted():
                return CANCELLED
            connection.request("POST", self._path, body, {"Content-Type": "application/json", "Connection": "close"})
            answer = connection.getresponse()
            answer.read(_MAX_ANSWER_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise ActuatorError(f"actuator {self.name}: {self._url} gave no answer ({error or type(error)})") from error
        finally:
            connection.close()
        if answer.status not in _GOOD:
            raise ActuatorError(f"actuator {self.name}: {self._url} answered {answer.status} {answer.reason}")
        return "acknowledged", f"HTTP {answer.status}"
