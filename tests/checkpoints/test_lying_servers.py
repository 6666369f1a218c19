"""Servers that err or lie, and urls that are none."""

import dataclasses
import re

import pytest
from checkpoints.publisher import CONTENT, SHA256, fetch, leftovers, sent

from keras_mlp.checkpoints import download, transfer

HALF = len(CONTENT) // 2


def sends(status=200, body=CONTENT, **headers):
    """A server that answers with this status, these headers (with `_` for `-`) and this body."""

    def how(handler, content):
        handler.reply(status, body, **headers)
        handler.wfile.write(body)

    return how


def raw(*pieces, endlessly=b"", pause=0.0):
    """A server that sends these bytes and ends, or goes on with others for as long as it is listened to."""

    def how(handler, content):
        for piece in pieces:
            handler.wfile.write(piece)
        while endlessly and not handler.server.over.wait(pause):
            handler.wfile.write(endlessly)
            handler.wfile.flush()
        handler.close_connection = True

    return how


def rest(**headers):
    """The rest of a file from its middle on, with other headers than it should have."""

    def how(handler, content):
        right = {"ETag": f'"{hash(content)}"', "Content_Range": f"bytes {HALF}-{len(content) - 1}/{len(content)}"}
        handler.reply(206, content[HALF:], **right | headers)
        handler.wfile.write(b"?" * (len(content) - HALF))

    return how


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNK = b"10000\r\n" + bytes(65536) + b"\r\n"
NOT_THE_FILE = {
    "a part that nobody asked for": (sends(206, Content_Range="bytes 0-9/10"), "where all was asked for"),
    "another status": (sends(202), "answered 202 Accepted"),
    "nothing": (sends(204, b""), "answered 204"),
    "gzip": (sends(Content_Encoding="gzip"), "encoded and not as it is .Content-Encoding: gzip"),
    "deflate": (sends(Content_Encoding="deflate"), "Content-Encoding: deflate"),
    "an encoding of the transfer": (sends(Transfer_Encoding="gzip, chunked"), "Transfer-Encoding: gzip, chunked"),
    "a length in words": (sends(Content_Length="abc"), "the length 'abc'"),
    "a negative length": (sends(Content_Length="-5"), "the length '-5'"),
    "a length of another alphabet": (sends(Content_Length="²"), "the length '²'"),
    "a length of many digits": (sends(Content_Length="9" * 5000), "the length '999"),
    "two lengths": (raw(OK + b"Content-Length: 9\r\nContent-Length: 200004\r\n\r\n", CONTENT), "'200004' and '9'"),
    "a length beyond all": (sends(Content_Length="9" * 17), "no checkpoint has more than"),
    "no end that could be told": (sends(Content_Length=None), "does not tell where .* ends"),
    "a broken chunk": (raw(CHUNKED, b"20000\r\n" + CONTENT[:99]), "4 attempts .* IncompleteRead"),
    "chunks of no length": (raw(CHUNKED, b"xyz\r\n" + CONTENT), "4 attempts .* IncompleteRead"),
    "chunks of negative length": (raw(CHUNKED, b"-5\r\n" + CONTENT), "4 attempts"),
    "no HTTP": (raw(b"SSH-2.0-OpenSSH\r\n"), "4 attempts"),
    "an early end": (raw(b"HTT"), "4 attempts"),
    "a page in pieces": (raw(CHUNKED, b"f\r\n<!DOCTYPE html>\r\n0\r\n\r\n"), "a web page"),
    "a redirect to a file": (sends(302, b"", Location="file:///etc/passwd"), "answered 302"),
    "a redirect to nowhere": (sends(302, b"", Location="http://[::1"), "no address that can be asked"),
    "a redirect to no port": (sends(302, b"", Location="http://127.0.0.1:abc/"), "no address that can be asked"),
    "a redirect to itself": (sends(302, b"", Location="/imagenet1k/B_16.npz"), "answered 302"),
}


@pytest.mark.parametrize("form", NOT_THE_FILE)
def test_what_is_not_the_file_is_neither_taken_nor_recorded(weights, server, form):
    how, told = NOT_THE_FILE[form]
    server.behaviour = [how] * 12
    with pytest.raises(download.DownloadError, match=told) as error:
        fetch(weights)
    assert weights.url in str(error.value) and "KERAS_MLP_MIRROR" in str(error.value) and "\n" not in str(error.value)
    path = download.cached_path(weights)
    assert not path.exists() and not transfer.beside(path).exists()
    server.behaviour = []
    assert fetch(weights).read_bytes() == CONTENT


NOT_THE_REST = {
    "no range": dict(Content_Range=None),
    "no range in words": dict(Content_Range="half"),
    "from elsewhere": dict(Content_Range=f"bytes {HALF + 1}-{len(CONTENT) - 1}/{len(CONTENT)}"),
    "the beginning": dict(Content_Range=f"bytes 0-{HALF - 1}/{len(CONTENT)}"),
    "not to the end": dict(Content_Range=f"bytes {HALF}-{len(CONTENT) - 2}/{len(CONTENT)}"),
    "beyond the end": dict(Content_Range=f"bytes {HALF}-{len(CONTENT)}/{len(CONTENT)}"),
    "of a longer file": dict(Content_Range=f"bytes {HALF}-{len(CONTENT)}/{len(CONTENT) + 1}"),
    "of another version": dict(ETag='"another"'),
    "of a version it does not name": dict(ETag=None),
    "of another length": dict(Content_Length=7),
    "several ranges": dict(Content_Range=None, Content_Type="multipart/byteranges; boundary=x"),
}


@pytest.mark.parametrize("form", NOT_THE_REST)
def test_what_is_not_the_rest_of_the_file_is_fetched_anew(weights, server, form):
    server.behaviour = ["truncate", rest(**NOT_THE_REST[form])]
    assert fetch(weights).read_bytes() == CONTENT
    assert [asked for asked, _ in sent(server)] == [None, f"bytes={HALF}-", None]


def test_a_rest_that_names_no_total_is_taken_up_to_the_known_one(weights, server):
    def rightly(handler, content):
        handler.reply(
            206, content[HALF:], ETag=f'"{hash(content)}"', Content_Range=f"bytes {HALF}-{len(content) - 1}/*"
        )
        handler.wfile.write(content[HALF:])

    server.behaviour = ["truncate", rightly]
    assert fetch(weights).read_bytes() == CONTENT
    assert len(server.log) == 2


@pytest.mark.parametrize(
    "state", [b"[" * 5000, b"[]", b"\xff", b'{"validator": 5}', b'{"validator": "a\\r\\nX: b"}', b" " * 10**6]
)
def test_a_damaged_record_of_a_part_is_no_record(weights, server, state):
    server.behaviour = ["truncate"] * transfer.ATTEMPTS
    with pytest.raises(download.DownloadError):
        fetch(weights)
    part = download.cached_path(weights).with_name("mixer_b16-imagenet.npz.part.json")
    part.write_bytes(state.replace(b"{", b'{"url": "%b", ' % weights.url.encode()))
    assert fetch(weights).read_bytes() == CONTENT


ENDLESS = {
    "body": raw(OK + b"\r\n", CONTENT, endlessly=bytes(65536)),
    "chunks": raw(CHUNKED, b"%x\r\n%b\r\n" % (len(CONTENT), CONTENT), endlessly=CHUNK),
}


@pytest.mark.parametrize("form", ENDLESS)
@pytest.mark.parametrize("known", [True, False])
def test_no_more_is_written_than_the_file_may_have(weights, server, monkeypatch, form, known):
    server.behaviour = [ENDLESS[form]]
    monkeypatch.setattr(transfer, "LARGEST", 10**6)
    weights = dataclasses.replace(weights, sha256=SHA256, size=len(CONTENT) if known else None)
    with pytest.raises(download.DownloadError, match=f"more than the {len(CONTENT) if known else 10**6} bytes"):
        fetch(weights)
    assert not leftovers(download.cached_path(weights)) and not download.cached_path(weights).exists()


DRAGGED_OUT = {
    "status": raw(b"HTTP/1.1 200 ", endlessly=b"O", pause=0.1),
    "headers": raw(OK, endlessly=b"A", pause=0.1),
    "not yet": raw(endlessly=b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.1),
    "beginning": raw(OK + b"Content-Length: 200004\r\n\r\n", endlessly=b"P", pause=0.1),
    "body": raw(OK + b"Content-Length: 200004\r\n\r\n" + CONTENT[:2000], endlessly=b"P", pause=0.1),
    "body without a length": raw(OK + b"\r\n" + CONTENT[:2000], endlessly=b"P", pause=0.1),
    "chunk": raw(CHUNKED + b"10000\r\n" + CONTENT[:2000], endlessly=b"P", pause=0.1),
    "length of a chunk": raw(CHUNKED, endlessly=b"0", pause=0.1),
    "what a redirect says": raw(b"HTTP/1.1 302 Found\r\nLocation: /other\r\n\r\n", endlessly=b"P", pause=0.1),
}


@pytest.mark.parametrize("form", DRAGGED_OUT)
def test_a_server_that_sends_byte_by_byte_is_given_up_and_does_not_hold_the_lock(weights, server, monkeypatch, form):
    monkeypatch.setattr(transfer, "ATTEMPTS", 1)
    server.behaviour = [DRAGGED_OUT[form], 404]
    told = "404" if "redirect" in form else r"1 attempts .* fewer than 5000 bytes a second came in 1 s"
    with pytest.raises(download.DownloadError, match=told):
        fetch(dataclasses.replace(weights, sha256=SHA256), timeout=0.5)
    assert not download.cached_path(weights).exists()
    server.behaviour = []
    assert fetch(weights).read_bytes() == CONTENT


@pytest.mark.parametrize("secure", [True, False])
def test_a_redirect_does_not_lead_away_from_encryption(weights, server, secure_server, secure):
    secure_server.files["/a.npz"] = secure_server.files["/b.npz"] = CONTENT
    target = f"{secure_server.url}/b.npz" if secure else weights.url
    secure_server.behaviour = [sends(302, b"", Location=target)]
    encrypted = dataclasses.replace(weights, url=f"{secure_server.url}/a.npz")
    if secure:
        assert fetch(encrypted).read_bytes() == CONTENT
        return
    with pytest.raises(download.DownloadError, match=f"redirects to {weights.url}, which is not encrypted"):
        fetch(encrypted)
    assert not server.log


def test_a_server_that_nobody_vouches_for_is_not_believed(weights, secure_server, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(download.DownloadError, match="certificate verify failed"):
        fetch(dataclasses.replace(weights, url=f"{secure_server.url}/a.npz"))


@pytest.mark.parametrize(
    "url",
    [
        *("http://[::1", "http://127.0.0.1:abc/x", "http://127.0.0.1:99999999/x", "http://127.0.0.1/a b", "http://"),
        *("nonsense", "", "file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", f"http://{'a' * 70}.invalid/x"),
        *("http://127.0.0.1:9/\u00e4", "http://\u00e4.invalid/x", "http:///x", "http://user@:1/x"),
    ],
)
@pytest.mark.parametrize("mirrored", [True, False])
def test_a_url_that_is_none(weights, cache, monkeypatch, url, mirrored):
    if mirrored and url:
        monkeypatch.setenv("KERAS_MLP_MIRROR", url)
    else:
        weights = dataclasses.replace(weights, url=url)
    with pytest.raises(download.DownloadError, match=re.escape(repr(url)[1:-1]) or "''"):
        fetch(weights)
    assert not cache.exists() or not download.cached_path(weights).exists()
