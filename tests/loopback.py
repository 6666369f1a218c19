"""What the tests' HTTP servers on loopback have in common."""

import contextlib
import functools
import http.server
import threading


class Server(http.server.ThreadingHTTPServer):
    """A server on a free port that does not complain of clients that hang up.

    Args:
        handler: class of what answers a request.
    """

    daemon_threads = True
    scheme = "http"

    def __init__(self, handler):
        super().__init__(("127.0.0.1", 0), handler)

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, address):
        pass


class Silent:
    """In front of a handler of `http.server`: it writes no log."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def running(server):
    """The server, which runs until the end of the block."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def serving(folder):
    """A server of the files in a folder, which runs until the end of the block."""

    class Handler(Silent, http.server.SimpleHTTPRequestHandler):
        pass

    with running(Server(functools.partial(Handler, directory=str(folder)))) as server:
        yield server
