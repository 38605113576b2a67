"""The page and its API over HTTP, for this machine alone.

Nothing but loopback reaches it; and of what loopback lets through, only requests that name this machine are answered
(else any page on the internet could reach it by a name of its own that it points here), and only from this page.
"""

import json
import re
import socketserver
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any

from evenstep.host import LinkError
from evenstep_sim.web.api import Api

__all__ = ["DemoServer"]

_LOOPBACK = "127.0.0.1"
# Of the Host header; the port may be another one where a tunnel leads here.
_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)
# Bytes of a request: 784 pixels take some 4,000.
_MAX_BODY = 16384
# Seconds that a connection may be silent.
_TIMEOUT = 30.0
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/demo.js": ("demo.js", "text/javascript; charset=utf-8"),
}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class _RefusedError(Exception):
    """A request that is answered with an error.

    Parameters
    ----------
    status : HTTPStatus
    message : str
        One line, for the page.
    headers : str
        Of the answer.
    """

    def __init__(self, status: HTTPStatus, message: str, **headers: str):
        super().__init__(message)
        self.status = status
        self.headers = headers


class DemoServer(ThreadingHTTPServer):
    """Serves the page on a port of this machine; a context manager that closes the port.

    Parameters
    ----------
    port : int
        0 for any that is free.

    Raises
    ------
    RuntimeError
        The port is in use, or not for us.
    """

    request_queue_size = 32

    def __init__(self, port: int):
        self._api: Api | None = None
        folder = resources.files("evenstep_sim.web") / "static"
        self.files = {path: ((folder / name).read_bytes(), kind) for path, (name, kind) in _FILES.items()}
        try:
            super().__init__((_LOOPBACK, port), _Handler)
        except OSError as error:
            raise RuntimeError(f"Port {port} cannot be opened: {error.strerror}; choose another with --port") from None

    def server_bind(self) -> None:
        """Bind, without the look-up of our own name that `HTTPServer` makes: it may wait for a name server."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = _LOOPBACK, self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print what failed, unless it is only that the browser has left."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{_LOOPBACK}:{self.server_port}/"

    @property
    def api(self) -> Api:
        """What answers."""
        assert self._api is not None, "serve() comes first"
        return self._api

    def serve(self, api: Api) -> None:
        """Serve until interrupted, or until `shutdown` is called from another thread."""
        self._api = api
        self.serve_forever(poll_interval=0.1)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "evenstep"
    sys_version = ""
    timeout = _TIMEOUT

    def do_GET(self) -> None:
        """Answer any method."""
        try:
            self._check_sender()
            body, kind = self._find(self.path.partition("?")[0])
        except _RefusedError as error:
            self._refuse(error.status, str(error), **error.headers)
        else:
            self._send(HTTPStatus.OK, body, kind)

    do_POST = do_HEAD = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET

    def _check_sender(self) -> None:
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
            raise _RefusedError(HTTPStatus.FORBIDDEN, f"Host must be {_LOOPBACK} or localhost")
        origin = self.headers.get("Origin")
        if origin is not None and origin.lower() != f"http://{hosts[0].lower()}":
            raise _RefusedError(HTTPStatus.FORBIDDEN, "Requests must come from the page itself")

    def _find(self, path: str) -> tuple[bytes, str]:
        server = self.server
        assert isinstance(server, DemoServer)
        api = server.api
        if path in server.files:
            self._check_method("GET")
            return server.files[path]
        if path == "/api/network":
            self._check_method("GET")
            return _json(api.network())
        if path == "/api/samples":
            self._check_method("GET")
            return _json(api.samples())
        if path == "/api/classify":
            self._check_method("POST")
            try:
                return _json(api.classify(self._body()))
            except ValueError as error:
                raise _RefusedError(HTTPStatus.BAD_REQUEST, str(error)) from None
            except LinkError as error:
                raise _RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from None
        raise _RefusedError(HTTPStatus.NOT_FOUND, "There is nothing here: the page is at /")

    def _check_method(self, method: str) -> None:
        if self.command != method:
            raise _RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, f"Method must be {method}", Allow=method)

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length")
        if length is None or "Transfer-Encoding" in self.headers:
            raise _RefusedError(HTTPStatus.LENGTH_REQUIRED, "Request must tell its length")
        if not re.fullmatch(r"\d{1,18}", length, re.ASCII):
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "Length of the request must be a number")
        if int(length) > _MAX_BODY:
            raise _RefusedError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"Request must be at most {_MAX_BODY} bytes long, not {length}"
            )
        if self.headers.get_content_type() != "application/json":
            raise _RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Request must be application/json")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionAbortedError("The browser left in the middle of a request")
        return body

    def _refuse(self, status: HTTPStatus, message: str, **headers: str) -> None:
        # A body may be left unread, which would be taken for the next request.
        self.close_connection = True
        body, kind = _json({"error": " ".join(message.split())})
        self._send(status, body, kind, Connection="close", **headers)

    def _send(self, status: HTTPStatus, body: bytes, kind: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in (_HEADERS | headers).items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is no HTTP, as JSON too."""
        status = HTTPStatus(code)
        self._refuse(status, message or status.phrase)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a line for each stroke of the brush would bury what matters."""


def _json(values: dict[str, Any]) -> tuple[bytes, str]:
    return json.dumps(values, separators=(",", ":")).encode(), "application/json"
