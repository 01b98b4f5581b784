"""The page's server: this machine alone, one secret address, nothing from outside.

It listens on 127.0.0.1. Every address begins with a random token: whoever does not know it gets 403 and learns
nothing. A request whose Host is another, as of a page elsewhere that has its name resolved to this machine, gets 403
too. The page may load nothing from elsewhere, run no script but its own, and be shown in no other page.
"""

import hmac
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Condition
from typing import Any
from urllib.parse import parse_qs, urlsplit

from batcache.errors import BatcacheError, ReviewError, brief

HOST = "127.0.0.1"
_PAGE = Path(__file__).parent / "page"
_FILES = {
    "": ("page.html", "text/html; charset=utf-8"),
    "script.js": ("script.js", "text/javascript; charset=utf-8"),
    "picture.js": ("picture.js", "text/javascript; charset=utf-8"),
    "style.css": ("style.css", "text/css; charset=utf-8"),
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_LONGEST_BODY = 1 << 16
_WAIT_S = 30

Content = tuple[str, bytes]
"""A media type, and what is sent."""
Get = Callable[[Mapping[str, str]], Content]
Post = Callable[[Mapping[str, Any]], Content]


def as_json(value: object) -> Content:
    """What the page's script reads."""
    return "application/json; charset=utf-8", json.dumps(value, allow_nan=False).encode()


class Server(ThreadingHTTPServer):
    """Serves the page, and what it asks for.

    Args:
        gets: by the last part of the address; called with the query.
        posts: so called with what was sent.
        port: to listen on; 0 takes any that is free.

    Raises:
        ReviewError: the port is taken.
    """

    daemon_threads = True

    def __init__(self, gets: Mapping[str, Get], posts: Mapping[str, Post], port: int = 0) -> None:
        self.gets, self.posts, self.token = gets, posts, secrets.token_urlsafe(24)
        self._working, self._has_ended, self._done = 0, False, Condition()
        self.files = {name: (kind, (_PAGE / file).read_bytes()) for name, (file, kind) in _FILES.items()}
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ReviewError(f"port {port}", f"cannot be listened on ({brief(error)})", "Pass another") from None

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    @contextmanager
    def working(self) -> Iterator[None]:
        """Within this block the server is not finished.

        Raises:
            ReviewError: it is, or is about to be: a connection that was kept open asks too late.
        """
        with self._done:
            if self._has_ended:
                raise ReviewError("review", "has been ended", "Start it again")
            self._working += 1
        try:
            yield
        finally:
            with self._done:
                self._working -= 1
                self._done.notify_all()

    def finish(self) -> None:
        """Take no request any more, and wait for those that are being answered: none is broken off."""
        with self._done:
            self._has_ended = True
            self._done.wait_for(lambda: not self._working)

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that breaks off is no error; what else goes wrong is told to the page by the handler."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = _WAIT_S
    server_version, sys_version = "batcache", ""

    def do_GET(self) -> None:
        name = self._find_name()
        if name is None:
            return
        if name in self.server.files:
            self._send(HTTPStatus.OK, self.server.files[name])
        elif name in self.server.gets:
            query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
            self._answer(lambda: self.server.gets[name](query))
        else:
            self._refuse(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        name = self._find_name()
        if name is None:
            return
        length = self.headers.get("Content-Length", "")
        kind = self.headers.get("Content-Type", "").split(";")[0].strip()
        if not length.isdecimal() or int(length) > _LONGEST_BODY or kind != "application/json":
            self._refuse(HTTPStatus.BAD_REQUEST)
        elif name not in self.server.posts:
            self.rfile.read(int(length))
            self._refuse(HTTPStatus.NOT_FOUND)
        else:
            body = self.rfile.read(int(length))
            self._answer(lambda: self.server.posts[name](_read_object(body)))

    def _find_name(self) -> str | None:
        """What is asked for behind the token; None where the request was refused."""
        own = {f"{host}:{self.server.server_port}" for host in (HOST, "localhost")}
        origin = self.headers.get("Origin")
        is_foreign = self.headers.get("Host") not in own or (origin and origin.removeprefix("http://") not in own)
        token, _, name = urlsplit(self.path).path.removeprefix("/").partition("/")
        is_known = hmac.compare_digest(token.encode(errors="replace"), self.server.token.encode())
        if is_foreign or not is_known:
            self._refuse(HTTPStatus.FORBIDDEN)
            return None
        return name

    def _answer(self, make: Callable[[], Content]) -> None:
        """Send what is made, or why it cannot be made."""
        try:
            with self.server.working():
                self._make_and_send(make)
        except ReviewError as error:
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, as_json({"error": str(error)}))

    def _make_and_send(self, make: Callable[[], Content]) -> None:
        try:
            content, status = make(), HTTPStatus.OK
        except BatcacheError as error:
            content, status = as_json({"error": str(error)}), HTTPStatus.UNPROCESSABLE_ENTITY
        except (ValueError, TypeError, KeyError) as error:
            content, status = as_json({"error": f"not understood ({brief(error)})"}), HTTPStatus.BAD_REQUEST
        except Exception as error:
            said = f"not done: {type(error).__name__}: {brief(error)}"
            content, status = as_json({"error": said}), HTTPStatus.INTERNAL_SERVER_ERROR
        self._send(status, content)

    def _refuse(self, status: HTTPStatus) -> None:
        self.close_connection = True
        self._send(status, ("text/plain; charset=utf-8", f"{status.value} {status.phrase}\n".encode()))

    def _send(self, status: HTTPStatus, content: Content) -> None:
        kind, body = content
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing is written: the address holds the token."""


def _read_object(body: bytes) -> dict[str, Any]:
    said = json.loads(body)
    if not isinstance(said, dict):
        raise TypeError("expected an object")
    return said
