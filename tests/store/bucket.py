"""An S3 server on this machine, and a proxy before it that fails, stalls and lies where it is told to."""

import http.client
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

BUCKET = "bats"
SECRETS = {"AWS_ACCESS_KEY_ID": "AKIAWHISPERINGBATKEY", "AWS_SECRET_ACCESS_KEY": "mouse+eared/secret=of=the=cave"}
ENVIRONMENT = {
    **SECRETS,
    "AWS_CONFIG_FILE": "nowhere",
    "AWS_SHARED_CREDENTIALS_FILE": "nowhere",
    "AWS_EC2_METADATA_DISABLED": "true",
}

_SERVER = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address=sys.argv[1], port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""

Fault = Literal["500", "503", "403", "reset", "stall", "lost answer", "cut short", "flipped byte", "no conditions"]
FAILURES: tuple[Fault, ...] = ("500", "503", "reset", "stall", "lost answer", "cut short")
"""What a network and a server do by themselves."""


@contextmanager
def serve(host: str = "127.0.0.1") -> Iterator[str]:
    """The URL of a server that holds one empty bucket."""
    command = [sys.executable, "-c", _SERVER, host]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        port = int(process.stdout.readline())
        connection = http.client.HTTPConnection(host, port)
        connection.request("PUT", f"/{BUCKET}")
        assert connection.getresponse().status == 200
        connection.close()
        yield f"http://{host}:{port}"
        process.stdin.close()


@dataclass
class Proxy:
    """``fault`` is asked for each request's number (from 1), method and path. ``requests`` remembers both. Every answer
    is kept back for ``latency_s``."""

    upstream: str
    endpoint: str = ""
    fault: Callable[[int, str, str], Fault | None] = lambda _number, _method, _path: None
    latency_s: float = 0
    requests: list[tuple[str, str]] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def heal(self) -> None:
        self.fault = lambda _number, _method, _path: None

    def count_shards(self) -> int:
        """How often a shard was asked for."""
        return sum(method == "GET" and "/instances/c/" in path for method, path in self.requests)

    def count(self, method: str, path: str) -> Fault | None:
        with self.lock:
            self.requests.append((method, path))
            return self.fault(len(self.requests), method, path)


@contextmanager
def proxy(upstream: str) -> Iterator[Proxy]:
    made = Proxy(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = made.count(self.command, self.path)
            time.sleep(made.latency_s)
            if fault in ("500", "503", "403"):
                self.refuse(int(fault))
            elif fault == "reset":
                self.reset()
            elif fault == "stall":
                made.closing.wait(20)
                self.close_connection = True
            else:
                self.pass_on(body, fault)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815

        def refuse(self, status: int) -> None:
            """As S3 does it, which repeats the key id."""
            content = f"<Error><Code>Code{status}</Code><AWSAccessKeyId>{SECRETS['AWS_ACCESS_KEY_ID']}</AWSAccessKeyId>"
            content += f"<StringToSign>{self.headers.get('Authorization')}</StringToSign></Error>"
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content.encode())

        def pass_on(self, body: bytes, fault: Fault | None) -> None:
            connection = http.client.HTTPConnection(urlsplit(made.upstream).netloc, timeout=20)
            headers = dict(self.headers)
            if fault == "no conditions":  # as older servers
                headers = {name: value for name, value in headers.items() if name.lower() != "if-none-match"}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = bytearray(answer.read())
            connection.close()
            if fault == "lost answer":
                self.reset()
                return
            if fault == "flipped byte" and content:
                content[len(content) // 2] ^= 1
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("content-length", "connection", "transfer-encoding", "date", "server"):
                    self.send_header(name, value)
            size = answer.getheader("Content-Length") if self.command == "HEAD" else None
            self.send_header("Content-Length", size or str(len(content)))
            self.end_headers()
            if fault == "cut short":
                self.wfile.write(content[: len(content) // 2])
                self.reset()
                return
            self.wfile.write(content)

        def reset(self) -> None:
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True

        def handle(self) -> None:
            try:
                super().handle()
            except (OSError, ValueError):  # the client gave up, or we hung up on it
                self.close_connection = True

        def finish(self) -> None:
            with suppress(OSError, ValueError):
                super().finish()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def shutdown_request(self, request: object) -> None:
            with suppress(OSError):
                super().shutdown_request(request)  # type: ignore[arg-type]

    server = Server(("127.0.0.1", 0), Handler)
    made.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
