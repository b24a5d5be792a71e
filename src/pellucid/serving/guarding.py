# SPDX-License-Identifier: Apache-2.0
"""What stands between the network and the application: who may ask, how much they may send, and what browsers may do with answers.

A page of another site that is open in the same browser can send requests to this machine. Its `Origin` is not ours, and where a name
of its own leads here (DNS rebinding), neither is the `Host`; both are refused.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import socket
from http.cookies import SimpleCookie
from typing import Final, final
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pellucid.serving.limits import Limits, Refused

__all__ = ["LOOPBACK", "POLICY", "Guard", "is_loopback"]

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
"""The names of this machine for itself."""

POLICY: Final = "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""Scripts, styles and requests of our own pages come from here alone; pictures may also be made by the page itself."""

_COOKIE: Final = "pellucid-token"
_HEADERS: Final = tuple(
    (name.encode(), value.encode())
    for name, value in {
        "content-security-policy": POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cache-control": "no-store",
    }.items()
)


def is_loopback(host: str) -> bool:
    """Whether an address reaches this machine alone.

    >>> is_loopback("localhost"), is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@final
class Guard:
    """An application that only sees requests which are ours, whole, and not too large.

    Args:
        inner: the application.
        host: the address that is listened on.
        token: a secret that every request must have; "" for none.
        limits: of a request.
    """

    def __init__(self, inner: ASGIApp, host: str = "127.0.0.1", token: str = "", limits: Limits | None = None) -> None:
        self.inner, self.host, self.token, self.limits = inner, host, token, limits or Limits()
        self.held = 0  # bytes of requests that are in memory now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def careful(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(pair for pair in _HEADERS if pair[0] not in given)]
            await send(message)

        taken = 0
        try:
            self._check_host(headers)
            if await self._entered(scope, headers, careful):
                return
            body = bytearray()
            if scope["method"] not in ("GET", "HEAD"):
                taken = self._expected(headers)
                self.held += taken
                body = await self._body(receive, taken)
            await self.inner(scope, _replayed(bytes(body), receive), careful)
        except Refused as refused:
            await _say(careful, refused.status, str(refused))
        finally:
            self.held -= taken

    def _check_host(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        host = hosts[0].lower() if len(hosts) == 1 else ""
        if not self._known(_name_of(host)):
            raise Refused(421, f"host={host!r}: is not a name of this server; use the address that it printed.")
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
            raise Refused(403, f"origin={origin!r}: is another site; open the page of this server itself.")

    def _known(self, name: str) -> bool:
        if name in LOOPBACK or name in (self.host.lower(), f"[{self.host.lower()}]"):
            return True
        if is_loopback(self.host):
            return False
        if name in (socket.gethostname().lower(), socket.getfqdn().lower()):
            return True
        try:  # an address cannot be another site's name; who comes by one still needs the token
            return bool(ipaddress.ip_address(name.strip("[]")))
        except ValueError:
            return False

    async def _entered(self, scope: Scope, headers: Headers, send: Send) -> bool:
        """Whether a token in the address was exchanged for a cookie; without any, the request is refused."""
        if not self.token:
            return False
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        cookie = SimpleCookie()
        try:
            cookie.load(headers.get("cookie", ""))
        except Exception:  # of a cookie that is none of ours
            cookie = SimpleCookie()
        kept = cookie[_COOKIE].value if _COOKIE in cookie else ""
        if (kind.lower() == "bearer" and self._is_token(bearer.strip())) or self._is_token(kept):
            return False
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        if scope["method"] == "GET" and self._is_token(given):
            crumb = f"{_COOKIE}={self.token}; Path=/; HttpOnly; SameSite=Strict".encode("latin-1")
            path = scope["path"].encode()
            where = b"/" if path.startswith(b"//") else path
            start = {
                "type": "http.response.start",
                "status": 303,
                "headers": [(b"set-cookie", crumb), (b"location", where)],
            }
            await send(start)
            await send({"type": "http.response.body", "body": b""})
            return True
        raise Refused(
            401, "token: is missing or another one; open the address with ?token=…, or send it as a bearer token."
        )

    def _is_token(self, text: str) -> bool:
        return bool(text) and hmac.compare_digest(text.encode("utf-8", "replace"), self.token.encode("utf-8"))

    def _expected(self, headers: Headers) -> int:
        """Bytes to set aside for the body: those that are announced, else as many as it may have."""
        text, limit = headers.get("content-length", ""), self.limits.upload
        announced = int(text) if text.isascii() and text.isdigit() else limit
        if announced > limit:
            raise Refused(
                413, f"body={announced}: is more than {limit:,} bytes; send fewer or smaller images at a time."
            )
        if self.held + announced > self.limits.held:
            raise Refused(503, "body: other requests fill the memory for uploads; send it again in a moment.")
        return announced

    async def _body(self, receive: Receive, most: int) -> bytearray:
        body, limits = bytearray(), self.limits
        loop = asyncio.get_running_loop()
        end = loop.time() + limits.seconds
        while True:
            try:
                message = await asyncio.wait_for(receive(), max(0.0, min(limits.idle, end - loop.time())))
            except TimeoutError:
                raise Refused(408, f"body: came too slowly; send it within {limits.seconds:g} s.") from None
            if message["type"] == "http.disconnect":
                raise Refused(400, "body: broke off; send it again.")
            body += message.get("body", b"")
            if len(body) > most:
                raise Refused(
                    413, f"body: is more than {limits.upload:,} bytes; send fewer or smaller images at a time."
                )
            if not message.get("more_body", False):
                return body


def _name_of(host: str) -> str:
    """The name in a `Host` header, without the port.

    >>> _name_of("localhost:8020"), _name_of("[::1]:80"), _name_of("a.example")
    ('localhost', '[::1]', 'a.example')
    """
    return host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.partition(":")[0]


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A receiver that gives the body, which is whole, and then what else comes."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _say(send: Send, status: int, sentence: str) -> None:
    """A refusal; the connection is closed, as more of a body may be under way."""
    content = json.dumps({"error": sentence}, ensure_ascii=False).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
