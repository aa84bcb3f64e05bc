"""Load for the service: clients that ask one question after the other, and what came of it."""

import asyncio
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np


@dataclass
class Outcome:
    """What came of a load.

    Attributes:
        seconds: From each question to the end of its answer.
        errors: What went wrong, in words.
        elapsed: Seconds in all.
    """

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    elapsed: float = 0.0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.seconds) / self.elapsed

    def quantile(self, share: float) -> float:
        """Milliseconds within which so many of the answers came."""
        return 1000 * float(np.quantile(self.seconds, share)) if self.seconds else float("nan")

    def __str__(self) -> str:
        middle, late = self.quantile(0.5), self.quantile(0.99)
        return (
            f"{self.rate:.0f} answers a second, p50 {middle:.0f} ms, p99 {late:.0f} ms, "
            f"{len(self.seconds):,} answers, {len(self.errors)} errors"
        )


def question(url: str, kind: str, body: bytes, token: str | None = None) -> bytes:
    """A POST request as it goes over the line."""
    parts = urlsplit(url)
    bearer = f"Authorization: Bearer {token}\r\n" if token else ""
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{bearer}"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def form(content: bytes, name: str = "image.png") -> tuple[str, bytes]:
    """An image as a browser's form sends it: the type, and the body."""
    border = "----fmnist"
    head = f'--{border}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
    head += "Content-Type: image/png\r\n\r\n"
    return (
        f"multipart/form-data; boundary={border}",
        head.encode() + content + f"\r\n--{border}--\r\n".encode(),
    )


async def load(url: str, asked: bytes, clients: int, seconds: float) -> Outcome:
    """Keeps so many clients asking for so long, each over a connection that it keeps."""
    outcome = Outcome()
    begun = time.perf_counter()
    await asyncio.gather(*(_client(url, asked, begun + seconds, outcome) for _ in range(clients)))
    outcome.elapsed = time.perf_counter() - begun
    return outcome


async def _client(url: str, asked: bytes, until: float, outcome: Outcome) -> None:
    parts = urlsplit(url)
    reader = writer = None
    while time.perf_counter() < until:
        begun = time.perf_counter()
        try:
            if reader is None or writer is None:
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(asked)
            status, body, keeps = await asyncio.wait_for(_answer(reader), 60)
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            outcome.errors.append(f"{type(error).__name__}: {error}")
            reader = writer = None
            await asyncio.sleep(0.1)
            continue
        if status == 200:
            outcome.seconds.append(time.perf_counter() - begun)
        else:
            outcome.errors.append(f"status {status}: {body[:200].decode(errors='replace')}")
        if not keeps:
            writer.close()
            reader = writer = None
    if writer is not None:
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    first, *lines = head.split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines if ": " in line)
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
    else:
        body = await reader.readexactly(int(headers["content-length"]))
    return int(first.split()[1]), body, headers.get("connection") != "close"
