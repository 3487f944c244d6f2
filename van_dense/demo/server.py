"""The server behind the page: it answers this machine alone, in sentences, and keeps nothing.

It is http.server of the standard library and no framework: five addresses need no routing, no
templates and no dependency that would have to be kept safe. What http.server lacks stands here.

- It binds to 127.0.0.1, and there is no option for another address.
- ``Host`` must be that address: a page whose name is made to point here (DNS rebinding) gets 403.
- What computes is POST, with this page's ``Origin`` and a token that only the page knows, so that
  other pages in the same browser cannot ask for anything.
- Uploads say their length, are read up to it and not beyond ``UPLOAD_BYTES``, stay in memory, and
  few of them wait at a time.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import socketserver
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from threading import BoundedSemaphore
from typing import Any
from urllib.parse import unquote, urlsplit

from van_dense.core.parse import parse_json
from van_dense.data.dataset import ReadError
from van_dense.demo.session import Refusal, Session, clean_name, decode_upload

log = logging.getLogger(__name__)

ADDRESS = "127.0.0.1"
UPLOAD_BYTES = 20_000_000  # of an image
_QUESTION_BYTES = 10_000  # of what is asked in JSON
_WAITING = 4  # requests that hold an upload at a time
_SECONDS = 30  # without a byte, after which a connection is closed
_DRAIN_SECONDS = 2
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_TEXT = "; charset=utf-8"
_JSON = f"application/json{_TEXT}"
# Files of the page by address; the first one gets the token.
_ASSETS = {
    "/": ("demo.html", f"text/html{_TEXT}"),
    "/demo.css": ("demo.css", f"text/css{_TEXT}"),
    "/demo.js": ("demo.js", f"text/javascript{_TEXT}"),
    "/paint.js": ("paint.js", f"text/javascript{_TEXT}"),
}
_RESULT = "/results/"
_ASKED = ("/predict", "/example", "/explain")


class DemoServer(ThreadingHTTPServer):
    """Serves one session on this machine.

    Args:
        session: Network, examples and results.
        port: Number of the port; 0 takes a free one.

    Raises:
        ValueError: When the port is taken or not allowed.
    """

    daemon_threads = True
    allow_reuse_address = os.name != "nt"  # on Windows two servers would share a port

    def __init__(self, session: Session, port: int = 0) -> None:
        self.session = session
        self.token = secrets.token_urlsafe(32)
        self.waiting = BoundedSemaphore(_WAITING)
        try:
            super().__init__((ADDRESS, port), Handler)
        except OSError as error:
            fix = "leave --port out for a free one, or give another"
            raise ValueError(f"port {port} of {ADDRESS}: {error.strerror}; {fix}") from error
        number = self.server_address[1]
        names = (ADDRESS, "localhost")
        self.hosts = {f"{name}:{number}" for name in names}
        if number == 80:  # which clients leave out
            self.hosts |= set(names)
        self.url = f"http://{ADDRESS}:{number}/"

    def server_bind(self) -> None:
        """Bind; that of http.server also asks the network for the name of this machine."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = ADDRESS, self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep the traceback of a broken connection from the terminal."""
        log.debug("connection of %s", client_address, exc_info=True)


class Handler(BaseHTTPRequestHandler):
    """Answers one request, and closes the connection."""

    server: DemoServer
    timeout = _SECONDS  # of every read and write
    server_version = "van_dense"
    sys_version = ""
    _body_left = 0  # bytes of the request that nobody has read

    def do_GET(self) -> None:
        """The page, what it says at the start, and files of results."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Predictions and explanations."""
        self._answer(self._post)

    def _answer(self, respond: Callable[[str], None]) -> None:
        """Respond, and tell what goes wrong as a sentence with its status code."""
        try:
            self._check_host()
            respond(urlsplit(self.path).path)
        except Refusal as refusal:
            self._refuse(refusal.status, refusal.sentence)
        except ReadError as error:
            self._refuse(400, f"{error}.")
        except (ConnectionError, TimeoutError):
            log.debug("the browser has gone", exc_info=True)
        except Exception:
            log.exception("%s %s", self.command, self.path)
            self._refuse(500, "Something went wrong in the program; its terminal says what.")

    def _get(self, path: str) -> None:
        session = self.server.session
        if path in _ASSETS:
            name, kind = _ASSETS[path]
            text = files("van_dense.demo").joinpath(name).read_text(encoding="utf-8")
            self._send(200, kind, text.replace("{{token}}", self.server.token).encode())
        elif path == "/about":
            self._send_json(session.about() | {"upload_bytes": UPLOAD_BYTES})
        elif path == "/examples":
            examples = session.examples.all()
            self._send_json([{"name": one.name, "picture": one.thumbnail} for one in examples])
        elif path.startswith(_RESULT):
            file = session.download(path.removeprefix(_RESULT))
            disposition = {"Content-Disposition": f'attachment; filename="{file.name}"'}
            self._send(200, file.kind, file.data, disposition)
        else:
            self._refuse_path(path, path in _ASKED, "POST")

    def _post(self, path: str) -> None:
        self._body_left = self._length()
        if path not in _ASKED:
            known = path in (*_ASSETS, "/about", "/examples") or path.startswith(_RESULT)
            self._refuse_path(path, known, "GET")
        self._check_sender()
        if not self.server.waiting.acquire(blocking=False):
            raise Refusal(503, f"{_WAITING} images are waiting already; try again in a moment.")
        try:
            if path == "/predict":
                name = clean_name(unquote(self.headers.get("X-Name", "")))
                image = decode_upload(self._body(UPLOAD_BYTES), name)
                self._send_json(self.server.session.predict(image, name))
                return
            asked = self._question()
            if path == "/example":
                self._send_json(self.server.session.predict_example(asked.get("index")))
            else:
                self._send_json(self.server.session.explain(asked.pop("id", None), asked))
        finally:
            self.server.waiting.release()

    # ---------------------------------------------------------------------------------- checks

    def _check_host(self) -> None:
        if self.headers.get_all("Host", []) not in [[host] for host in self.server.hosts]:
            raise Refusal(403, f"This page is at {self.server.url} and nowhere else.")

    def _check_sender(self) -> None:
        """Whether the page itself asks: browsers name the origin of every POST, and cannot lie."""
        if self.headers.get("Origin") != f"http://{self.headers['Host']}":
            raise Refusal(403, "Only the page itself may ask for this.")
        token = self.headers.get("X-Token", "").encode("utf-8", "replace")
        if not secrets.compare_digest(token, self.server.token.encode()):
            raise Refusal(403, "This page is of an earlier start of the program; reload it.")

    def _length(self) -> int:
        """Bytes that the request says to have; Refusal where it says nothing certain."""
        said = self.headers.get_all("Content-Length", [])
        if not said or "Transfer-Encoding" in self.headers:
            raise Refusal(411, "The length of what is sent must be said before (Content-Length).")
        if len(said) > 1 or not (said[0].isascii() and said[0].isdigit()) or len(said[0]) > 18:
            raise Refusal(400, "The Content-Length of the request is no number.")
        return int(said[0])

    def _body(self, most: int) -> bytes:
        if self._body_left > most:
            size, limit = f"{self._body_left / 1e6:.1f} MB", f"{most / 1e6:g} MB"
            raise Refusal(413, f"The file has {size}; this page takes at most {limit}.")
        data = self.rfile.read(self._body_left)
        missing, self._body_left = self._body_left - len(data), 0
        if missing:
            raise Refusal(400, "The upload ended before the file was whole.")
        return data

    def _question(self) -> dict[str, Any]:
        try:
            asked = parse_json(self._body(_QUESTION_BYTES), "the question")
        except ValueError as error:
            raise Refusal(400, f"{error}.") from error
        if not isinstance(asked, dict):
            raise Refusal(400, "The question is no JSON object.")
        return asked

    # --------------------------------------------------------------------------------- answers

    def _refuse_path(self, path: str, known: bool, method: str) -> None:
        if known:
            raise Refusal(405, f"This address takes {method} alone.")
        raise Refusal(404, "There is nothing at this address.")

    def _send_json(self, value: object) -> None:
        self._send(200, _JSON, json.dumps(value).encode())

    def _send(
        self, status: int, kind: str, data: bytes, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        about = {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}
        for name, value in (about | _HEADERS).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _refuse(self, status: int, sentence: str) -> None:
        allow = {"Allow": "GET, POST"} if status == 405 else {}
        try:
            self._send(status, _JSON, json.dumps({"error": sentence}).encode(), allow)
            self._drain()
        except OSError:
            log.debug("the browser has gone", exc_info=True)

    def _drain(self) -> None:
        """Throw away a little of what is still coming, or the answer may not reach the browser.

        A connection that is closed with bytes unread is reset, and takes the answer with it.
        """
        with suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_DRAIN_SECONDS)
            left = min(self._body_left, UPLOAD_BYTES)
            while left > 0 and (data := self.rfile.read1(min(left, 65536))):
                left -= len(data)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server refuses by itself, as JSON like everything else."""
        self.command = getattr(self, "command", None) or "GET"
        if code == 501:  # a method without a function
            self._refuse(405, "This address takes GET or POST alone.")
        else:
            self._refuse(code, f"The request is not understood ({code}).")

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are no news to the person at the terminal."""
        log.debug(format, *args)
