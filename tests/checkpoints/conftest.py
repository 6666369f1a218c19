"""A real HTTP server on loopback that can misbehave."""

import contextlib
import http.server
import re
import ssl
import threading
import time

import loopback
import pytest
from checkpoints.publisher import CONTENT

from keras_mlp.cards import Weights
from keras_mlp.checkpoints import transfer


class Server(loopback.Server):
    """Serves `files` (`{path: bytes}`), with ranges, and keeps a log of `(path, range, bytes sent)`.

    `behaviour` is how the next requests are answered, one entry a request, from then on faultlessly: "truncate"
    (half of it), "stall" (half of it, then silence), "slow", "html" (a web page with status 200), "page as binary",
    "no ranges", "no length", "chunked", an HTTP status, or a function of the request's handler and the content.
    """

    def __init__(self):
        super().__init__(Handler)
        self.files, self.log, self.behaviour = {}, [], []
        self.over = threading.Event()


class Handler(loopback.Silent, http.server.BaseHTTPRequestHandler):
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
        if callable(how):
            how(self, content)
            return
        if how in ("html", "page as binary"):
            kind = "text/html" if how == "html" else "application/octet-stream"
            self.wfile.write(self.reply(200, b"<!DOCTYPE html><title>Sign in</title>", Content_Type=kind))
            return
        start, etag = 0, f'"{hash(content)}"'
        if (match := re.fullmatch(r"bytes=(\d+)-", entry[1] or "")) and how != "no ranges":
            start = int(match[1]) if self.headers.get("If-Range") in (None, etag) else 0
        headers = {"Content_Length": None if how == "no length" else len(content) - start, "ETag": etag}
        if how == "chunked":
            headers |= {"Content_Length": None, "Transfer_Encoding": "chunked"}
        if start:
            headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.reply(206 if start else 200, **headers)
        body = content[start:]
        if how in ("truncate", "stall"):
            body = body[: len(body) // 2]
        pieces = [body[i : i + len(body) // 8 + 1] for i in range(0, len(body), len(body) // 8 + 1)]
        for piece in [*pieces, b""] if how == "chunked" else pieces:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if how == "chunked" else piece)
            self.wfile.flush()
            entry[2] += len(piece)
            if how == "slow":
                time.sleep(0.3)
        if how == "stall":
            server.over.wait(30)


@contextlib.contextmanager
def _running(server):
    with loopback.running(server):
        try:
            yield server
        finally:
            server.over.set()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with _running(Server()) as server:
        yield server


@pytest.fixture
def secure_server(monkeypatch, tmp_path):
    """The same behind https, with a certificate of its own for 127.0.0.1 that is believed."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    certificate = tmp_path / "certificate.pem"
    certificate.write_text(CERTIFICATE)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server = Server()
    server.scheme = "https"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with _running(server):
        yield server


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(transfer, "PAUSE", 0.01)


@pytest.fixture
def weights(server, cache):
    """A published checkpoint on the server."""
    server.files["/imagenet1k/B_16.npz"] = CONTENT
    return Weights(
        *("mixer_b16", "imagenet", f"{server.url}/imagenet1k/B_16.npz", "npz", "flax"),
        training_data="ImageNet-1k",
        classes=1000,
        licence="Apache-2.0",
    )


# Of no value to anybody: made by openssl for these tests, valid for 127.0.0.1 from 2020 to 2120.
CERTIFICATE = """
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIEd3GNgf9cxC9UHTlZtNwUx+bwuWuLTtwIm0WaisPlvpoAoGCCqGSM49
AwEHoUQDQgAEgDhaUlXqZIpe2TIBTv5CfVIQ+50+jYxJbb8I4cNrWO0LeqAsuugv
ZzLi7snJrIePfgbn1+0svtf4RPVxP0Z0mA==
-----END EC PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBXDCCAQKgAwIBAgIBATAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAkxMjcuMC4w
LjEwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBQxEjAQBgNVBAMM
CTEyNy4wLjAuMTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABIA4WlJV6mSKXtky
AU7+Qn1SEPudPo2MSW2/COHDa1jtC3qgLLroL2cy4u7JyayHj34G59ftLL7X+ET1
cT9GdJijQzBBMA8GA1UdEQQIMAaHBH8AAAEwDwYDVR0TAQH/BAUwAwEB/zAdBgNV
HQ4EFgQUvhXJUWBXBneUu6M00YqHNBw9e48wCgYIKoZIzj0EAwIDSAAwRQIhAJNS
FSxFui9tsVbFGNrzkPtUQkibZuDLpK8OuOK4QPNDAiA3l7UdIe8YzVY4Om1FVhun
LUz6opiXQQvw2wuxlYyqjA==
-----END CERTIFICATE-----
"""
