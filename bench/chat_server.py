"""A server that speaks the chat protocol with a fixed latency and next to no work; run it as a process of its own.

It bills a call when it has read it, as real services do, whether or not anybody waits for the answer: calls, tokens and
how often each question was asked are at `GET /stats`. Tokens of a prompt are a third of its bytes, rounded up.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

REPLY = {
    "grade": 2,
    "confidence": 0.8,
    "evidence": None,
    "reason": "The passage is about the subject of the query and answers a part of what it asks.",
}
COMPLETION_TOKENS = 42
ALTERNATIVES = 10


def completion_body(*, with_logprobs: bool) -> str:
    """The answer to every call, with a place for the model's name and one for the tokens of the prompt."""
    text = json.dumps(REPLY)
    logprobs: dict[str, Any] | None = None
    if with_logprobs:
        entries = []
        for start in range(0, len(text), 4):
            for token in _pieces(text[start : start + 4]):
                rivals = [{"token": token, "logprob": -0.1, "bytes": list(token.encode())}]
                rivals += [{"token": f"t{n}", "logprob": -3.0 - n, "bytes": [116, 48 + n]} for n in range(9)]
                if token.isdigit():
                    rivals[1]["token"] = "1"
                entries.append({**rivals[0], "top_logprobs": rivals[:ALTERNATIVES]})
        logprobs = {"content": entries, "refusal": None}
    body = {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 0,
        "model": "%MODEL%",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "finish_reason": "stop",
                "logprobs": logprobs,
            }
        ],
        "usage": {"prompt_tokens": "%PROMPT%", "completion_tokens": COMPLETION_TOKENS, "total_tokens": "%TOTAL%"},
    }
    return json.dumps(body).replace('"%PROMPT%"', "%PROMPT%").replace('"%TOTAL%"', "%TOTAL%")


def _pieces(text: str) -> list[str]:
    """The text as tokens; a digit is one of its own."""
    pieces: list[str] = []
    for character in text:
        if pieces and not character.isdigit() and not pieces[-1].isdigit():
            pieces[-1] += character
        else:
            pieces.append(character)
    return pieces


class Bill:
    """What was asked, and what it would cost."""

    def __init__(self) -> None:
        self.calls = self.tokens = self.active = self.most_active = 0
        self.asked: Counter[str] = Counter()

    def as_json(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "tokens": self.tokens,
            "active": self.active,
            "most_active": self.most_active,
            "distinct": len(self.asked),
        }


class _Connection(asyncio.Protocol):
    def __init__(self, bill: Bill, *, latency: float) -> None:
        self._bill = bill
        self._latency = latency
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._plain, self._full = completion_body(with_logprobs=False), completion_body(with_logprobs=True)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        if head.startswith(b"GET"):
            self._send(json.dumps(self._bill.as_json()).encode())
        else:
            self._take(json.loads(rest[:length]))

    def _take(self, asked: dict[str, Any]) -> None:
        content = "".join(message["content"] for message in asked["messages"])
        prompt = -(-len(content.encode()) // 3)
        bill = self._bill
        bill.calls += 1
        bill.tokens += prompt + COMPLETION_TOKENS
        bill.asked[hashlib.md5(content.encode(), usedforsecurity=False).hexdigest()] += 1
        bill.active += 1
        bill.most_active = max(bill.most_active, bill.active)
        body = self._full if asked.get("logprobs") else self._plain
        filled = body.replace("%MODEL%", str(asked["model"])).replace("%PROMPT%", str(prompt))
        answer = filled.replace("%TOTAL%", str(prompt + COMPLETION_TOKENS)).encode()
        asyncio.get_running_loop().call_later(self._latency, self._answer, answer)

    def _answer(self, body: bytes) -> None:
        self._bill.active -= 1
        self._send(body)

    def _send(self, body: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            self._transport.write(head.encode() + body)


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: what a client calls its base URL."""

    base_url: str

    def stats(self) -> dict[str, int]:
        """Calls, tokens and distinct questions so far."""
        with urllib.request.urlopen(self.base_url.removesuffix("/v1") + "/stats", timeout=10) as answer:
            found: dict[str, int] = json.loads(answer.read())
        return found


@contextmanager
def running(*, latency: float) -> Iterator[Server]:
    """The server in a process of its own, `latency` in seconds, until the block ends."""
    command = [sys.executable, "-m", "bench.chat_server", "--latency", str(latency)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Server(process.stdout.readline().strip())
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


async def _serve(latency: float) -> None:
    bill = Bill()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(bill, latency=latency), "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency", type=float, default=0.2)
    asyncio.run(_serve(parser.parse_args().latency))
