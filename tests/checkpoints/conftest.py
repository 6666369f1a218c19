"""A real HTTP server on loopback that can misbehave."""

import http.server
import re
import threading
import time

import pytest


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` (`{path: bytes}`), with ranges, and keeps a log of `(path, range, bytes sent)`.

    `behaviour` is how the next requests are answered, one entry a request, from then on faultlessly: "truncate"
    (half of it), "stall" (half of it, then silence), "slow", "html" (a web page with status 200), "page as binary",
    "no ranges", "no length", or an HTTP status.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.log, self.behaviour = {}, [], []
        self.over = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, address):
        pass  # clients that hang up


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {"Connection": "close", "Content_Length": len(body), **headers}.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.close_connection = True
        return body

    def do_GET(self):
        server = self.server
        how = server.behaviour.pop(0) if server.behaviour else ""
        entry = [self.path, self.headers.get("Range"), 0]
        server.log.append(entry)
        content = server.files.get(self.path)
        if isinstance(how, int) or content is None:
            self.reply(how or 404)
            return
        if how in ("html", "page as binary"):
            kind = "text/html" if how == "html" else "application/octet-stream"
            self.wfile.write(self.reply(200, b"<!DOCTYPE html><title>Sign in</title>", Content_Type=kind))
            return
        start, etag = 0, f'"{hash(content)}"'
        if (match := re.fullmatch(r"bytes=(\d+)-", entry[1] or "")) and how != "no ranges":
            start = int(match[1]) if self.headers.get("If-Range") in (None, etag) else 0
        headers = {"Content_Length": None if how == "no length" else len(content) - start, "ETag": etag}
        if start:
            headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.reply(206 if start else 200, **headers)
        body = content[start:]
        if how in ("truncate", "stall"):
            body = body[: len(body) // 2]
        pieces = [body[i : i + len(body) // 8 + 1] for i in range(0, len(body), len(body) // 8 + 1)]
        for piece in pieces:
            self.wfile.write(piece)
            self.wfile.flush()
            entry[2] += len(piece)
            if how == "slow":
                time.sleep(0.3)
        if how == "stall":
            server.over.wait(30)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()
    thread.join()
