"""A real HTTP server on 127.0.0.1 that speaks the chat protocol of OpenAI and misbehaves as it is told to.

    with ScriptedLLM([rate_limited(retry_after="1"), good(grade=2)]) as server:
        client = make_client(api_key="key", base_url=server.base_url)

Each request takes the next behaviour of the script; after the last one every request gets `otherwise`. A function of
the request may stand in place of the script.
"""

from __future__ import annotations

import json
import math
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

PROMPT_TOKENS = 120
COMPLETION_TOKENS = 30
_SHOWN = re.compile(
    r"^BEGIN passage \[(?P<label>\w+)\] (?P<fence>\w+)\n(?P<text>.*?)\nEND passage \[(?P=label)\] (?P=fence)$",
    re.M | re.S,
)
_TOKEN = re.compile(r"\d|[A-Za-z_]+|\s+|[^\sA-Za-z_\d]")


@dataclass(frozen=True)
class Behaviour:
    """What the server does with one request."""

    status: int = 200
    text: str | None = ""
    finish_reason: str = "stop"
    grade_probabilities: Mapping[int, float] | None = None
    reasoning_tokens: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    error: Mapping[str, object] | None = None
    body: bytes | None = None
    choices: bool = True
    delay: float = 0.0
    hang_up: bool = False
    completion_tokens: int = COMPLETION_TOKENS
    listed_probabilities: tuple[Mapping[int, float], ...] | None = None


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def user_message(self) -> str:
        """The text of the last message."""
        return str(self.body["messages"][-1]["content"])

    @property
    def system_message(self) -> str:
        """The text of the first message."""
        return str(self.body["messages"][0]["content"])

    @property
    def passages(self) -> dict[str, str]:
        """Label -> what stands between its fences, for a prompt that shows several passages, in the order shown."""
        return {match["label"]: match["text"] for match in _SHOWN.finditer(self.user_message)}


def good(
    *,
    grade: int = 2,
    confidence: float | None = 0.9,
    evidence: str | None = None,
    reason: str = "It answers the query.",
    grade_probabilities: Mapping[int, float] | None = None,
) -> Behaviour:
    """A well-formed reply, with token probabilities when asked for and given."""
    reply: dict[str, object] = {"grade": grade}
    if confidence is not None:
        reply["confidence"] = confidence
    text = json.dumps({**reply, "evidence": evidence, "reason": reason})
    return Behaviour(text=text, grade_probabilities=grade_probabilities or {grade: 0.9, (grade + 1) % 4: 0.1})


def graded_list(
    request: Request, grade_of: Callable[[str], int], *, confidence: float | None = 0.9, sure: float = 0.9
) -> Behaviour:
    """A well-formed list-wise reply: each passage shown gets `grade_of` its text, with token probability `sure`."""
    entries: list[dict[str, object]] = []
    probabilities = []
    for label, text in request.passages.items():
        grade = grade_of(text)
        stated = {} if confidence is None else {"confidence": confidence}
        entries.append({"id": label, "grade": grade, **stated})
        probabilities.append({grade: sure, (grade + 1) % 4: 1 - sure})
    return Behaviour(text=json.dumps({"grades": entries}), listed_probabilities=tuple(probabilities))


def selected(request: Request, chosen: Callable[[str], bool], *, confidence: float | None = None) -> Behaviour:
    """A well-formed selection: the labels of the passages whose text is chosen, as entries when a confidence is set."""
    labels = [label for label, text in request.passages.items() if chosen(text)]
    if confidence is None:
        return says(json.dumps({"selected": labels}))
    entries = [{"id": label, "confidence": confidence} for label in labels]
    return says(json.dumps({"selected": entries, "rest": confidence}))


def ranked(request: Request, use_of: Callable[[str], float]) -> Behaviour:
    """A well-formed ranking: the labels by falling use of their text."""
    return says(json.dumps({"ranking": sorted(request.passages, key=lambda label: -use_of(request.passages[label]))}))


def says(text: str | None, *, finish_reason: str = "stop") -> Behaviour:
    """A reply of exactly this text."""
    return Behaviour(text=text, finish_reason=finish_reason)


def malformed() -> Behaviour:
    """A reply whose JSON is broken."""
    return says('{"grade": 2, "reason": "an unclosed')


def cut_off() -> Behaviour:
    """A reply that the token limit ended; what is there looks whole."""
    return says('{"grade": 2, "confidence": 0.9, "evidence": null, "reason": "x"}', finish_reason="length")


def slow(seconds: float, then: Behaviour | None = None) -> Behaviour:
    """An answer that takes its time."""
    return replace(then or good(), delay=seconds)


def fails(
    status: int,
    *,
    message: str = "something went wrong",
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Behaviour:
    """An error with its JSON body."""
    error = {"message": message, "type": "scripted_error", "param": param, "code": code}
    return Behaviour(status=status, error=error, headers=headers or {})


def rate_limited(*, retry_after: str | None = None) -> Behaviour:
    """429, naming a wait in seconds or as an HTTP date, or none."""
    headers = {"Retry-After": retry_after} if retry_after is not None else {}
    return fails(429, message="Rate limit reached", code="rate_limit_exceeded", headers=headers)


def server_error() -> Behaviour:
    """500."""
    return fails(500, message="The server had an error")


def unauthorized() -> Behaviour:
    """401."""
    return fails(401, message="Incorrect API key provided", code="invalid_api_key")


def hang_up() -> Behaviour:
    """The connection closes without a word."""
    return Behaviour(hang_up=True)


def empty_choices() -> Behaviour:
    """Success, and nothing in it."""
    return Behaviour(choices=False)


def not_json() -> Behaviour:
    """Success, with the page of a proxy in place of JSON."""
    return Behaviour(body=b"<html>gateway</html>", headers={"Content-Type": "text/html"})


Script = Iterable[Behaviour] | Callable[[Request], Behaviour]


class ScriptedLLM:
    """The server; a context manager that listens on a free port. `refuses` names fields that it answers with 400."""

    def __init__(
        self,
        script: Script = (),
        *,
        otherwise: Behaviour | None = None,
        refuses: Iterable[str] = (),
        models: Iterable[str] = ("scripted",),
        model_details: Mapping[str, Mapping[str, object]] | None = None,
    ) -> None:
        self._answer = script if callable(script) else None
        self._script = iter(()) if callable(script) else iter(script)
        self._otherwise = otherwise or good()
        self._refuses = frozenset(refuses)
        self._models = tuple(models)
        self._model_details = model_details or {}
        self._lock = threading.Lock()
        self._active = 0
        self._closing = threading.Event()
        self.requests: list[Request] = []
        self.max_concurrency = 0

    def __enter__(self) -> ScriptedLLM:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer._get(self)

            def do_POST(self) -> None:
                outer._post(self)

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing; the tests read `requests`."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: object, client_address: object) -> None:
                """Says nothing; a client that goes away in the middle is part of the tests."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def base_url(self) -> str:
        """What a client calls its base URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def _get(self, handler: BaseHTTPRequestHandler) -> None:
        if handler.path.rstrip("/").endswith("/models"):
            listed = [
                {"id": name, "object": "model", "created": 0, "owned_by": "tests", **self._model_details.get(name, {})}
                for name in self._models
            ]
            _send(handler, 200, {"object": "list", "data": listed})
        else:
            _send(handler, 404, {"error": {"message": f"no such path: {handler.path}", "type": "not_found"}})

    def _post(self, handler: BaseHTTPRequestHandler) -> None:
        raw = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        request = Request(handler.path, dict(handler.headers), json.loads(raw))
        with self._lock:
            self._active += 1
            self.max_concurrency = max(self.max_concurrency, self._active)
            self.requests.append(request)
            refused = self._refused(request)
            behaviour = refused or (self._answer(request) if self._answer else next(self._script, self._otherwise))
        try:
            if behaviour.delay:
                self._closing.wait(behaviour.delay)
        finally:
            with self._lock:
                self._active -= 1
        self._respond(handler, request, behaviour)

    def _refused(self, request: Request) -> Behaviour | None:
        if not request.path.endswith("/chat/completions"):
            return fails(404, message=f"no such path: {request.path}")
        for name in sorted(self._refuses):
            formats = request.body.get("response_format") or {}
            if name in request.body or formats.get("type") == name:
                param = "response_format" if name in ("json_schema", "json_object") else name
                return fails(400, message=f"Unsupported parameter: '{name}'", param=param, code="unsupported_parameter")
        return None

    def _respond(self, handler: BaseHTTPRequestHandler, request: Request, behaviour: Behaviour) -> None:
        if behaviour.hang_up:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
        elif behaviour.body is not None:
            _send_bytes(handler, behaviour.status, behaviour.body, behaviour.headers)
        elif behaviour.error is not None:
            _send(handler, behaviour.status, {"error": dict(behaviour.error)}, behaviour.headers)
        else:
            _send(handler, behaviour.status, _completion(request, behaviour), behaviour.headers)


def _completion(request: Request, behaviour: Behaviour) -> dict[str, object]:
    logprobs = None
    if request.body.get("logprobs") and behaviour.text is not None:
        if behaviour.grade_probabilities is not None:
            logprobs = {"content": _logprobs(behaviour.text, behaviour.grade_probabilities), "refusal": None}
        elif behaviour.listed_probabilities is not None:
            logprobs = {"content": _listed_logprobs(behaviour.text, behaviour.listed_probabilities), "refusal": None}
    message = {"role": "assistant", "content": behaviour.text, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": behaviour.finish_reason, "logprobs": logprobs}
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request.body.get("model"),
        "choices": [choice] if behaviour.choices else [],
        "usage": {
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": behaviour.completion_tokens,
            "total_tokens": PROMPT_TOKENS + behaviour.completion_tokens,
            "completion_tokens_details": {"reasoning_tokens": behaviour.reasoning_tokens},
        },
    }


def _logprobs(text: str, grade_probabilities: Mapping[int, float]) -> list[dict[str, object]]:
    """One entry a token; the first digit carries the probabilities of the grades, the others are certain."""
    entries: list[dict[str, object]] = []
    grade_seen = False
    for token in _TOKEN.findall(text):
        rivals = {token: 0.0}
        if token.isdigit() and not grade_seen:
            grade_seen = True
            rivals = {str(grade): math.log(p) for grade, p in grade_probabilities.items()}
        entries.append(_logprob(token, rivals))
    return entries


def _listed_logprobs(text: str, probabilities: Iterable[Mapping[int, float]]) -> list[dict[str, object]]:
    """One entry a token; the digit after each `"grade": ` carries the next probabilities, the others are certain."""
    entries: list[dict[str, object]] = []
    each, before = iter(probabilities), ""
    for token in _TOKEN.findall(text):
        rivals = {token: 0.0}
        if token.isdigit() and before.endswith('"grade": '):
            rivals = {str(grade): math.log(p) for grade, p in next(each).items()}
        entries.append(_logprob(token, rivals))
        before = (before + token)[-20:]
    return entries


def _logprob(token: str, rivals: Mapping[str, float]) -> dict[str, object]:
    top = [{"token": t, "logprob": p, "bytes": list(t.encode())} for t, p in rivals.items()]
    own = rivals.get(token, -9999.0)
    return {"token": token, "logprob": own, "bytes": list(token.encode()), "top_logprobs": top}


def _send(handler: BaseHTTPRequestHandler, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
    _send_bytes(handler, status, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})


def _send_bytes(handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
