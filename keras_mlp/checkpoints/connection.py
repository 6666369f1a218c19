"""Connections over http(s) with limits: none stays silent, comes byte by byte for ever, or leaves encryption."""

import contextlib
import http.client
import threading
import urllib.request

SLOWEST = 5_000
"""Bytes a second below which a server counts as silent."""


class Downgrade(Exception):
    """A server redirects from https to an address that is not encrypted."""


class Watch:
    """Cuts a connection over which too little comes, whatever phase it is in.

    A socket's own timeout starts anew with every byte, in the headers and before them, too.

    Args:
        timeout: in seconds. In each period of twice that, `SLOWEST * timeout` bytes have to come, or the rest.

    Attributes:
        received: bytes so far; the reader keeps it up to date.
        cut: whether the connection was too slow and was cut: what was read last is then not the end.
    """

    def __init__(self, timeout: float):
        self.timeout = timeout
        self.received = 0
        self.cut = False
        self._sockets = []
        self._over = threading.Event()

    def __enter__(self):
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()
        for socket in self._sockets:
            socket.close()

    def __str__(self):
        return f"fewer than {SLOWEST} bytes a second came in {2 * self.timeout:g} s"

    def over(self, socket):
        """Watch a connected socket, too."""
        self._sockets.append(socket.dup())  # the connection's own object is replaced when encryption begins

    def _watch(self):
        before = 0
        while not self._over.wait(2 * self.timeout):
            if self.received - before < SLOWEST * self.timeout:
                self.cut = True
                for socket in self._sockets:
                    with contextlib.suppress(OSError):  # it has ended by itself
                        socket.shutdown(2)
            before = self.received


def open_url(url: str, headers: dict[str, str], timeout: float, watch: Watch):
    """Send a GET request.

    Args:
        url: of http or https; no other scheme is followed, in redirects neither.
        headers: of the request.
        timeout: seconds of silence after which each phase is given up.
        watch: what looks after the connection.

    Returns:
        The `http.client.HTTPResponse`.

    Raises:
        Downgrade: see there.
        urllib.error.URLError, http.client.HTTPException, OSError, ValueError: what urllib raises.
    """

    class Plain(http.client.HTTPConnection):
        def connect(self):
            super().connect()
            watch.over(self.sock)

    class Encrypted(http.client.HTTPSConnection, Plain):
        pass

    class Handler(urllib.request.HTTPHandler):
        def http_open(self, request):
            return self.do_open(Plain, request)

    class EncryptedHandler(urllib.request.HTTPSHandler):
        def https_open(self, request):
            return self.do_open(Encrypted, request)

    opener = urllib.request.OpenerDirector()  # without urllib's handlers of files, data and FTP
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
        Handler(),
        EncryptedHandler(),
    ):
        opener.add_handler(handler)
    return opener.open(urllib.request.Request(url, headers=headers), timeout=timeout)


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req, fp, code, msg, headers, newurl):
        fp.close()  # or urllib would read to the end what the server says beside the address
        if req.type == "https" and not newurl.lower().startswith("https:"):
            raise Downgrade(f"{req.full_url} redirects to {newurl}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
