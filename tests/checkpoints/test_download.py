import dataclasses
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import pytest

import keras_mlp
from keras_mlp.cards import Weights
from keras_mlp.checkpoints import download, transfer

CONTENT = b"PK\x03\x04" + np.random.default_rng(0).bytes(200_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


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


def fetch(weights, **options):
    return download.fetch(weights, progress=False, **options)


def leftovers(path):
    """What lies in the cache folder that is neither the file nor what belongs beside it."""
    return {p.name for p in path.parent.iterdir()} - {path.name, path.name + ".json", path.name + ".lock"}


def sent(server):
    return [(asked, count) for _, asked, count in server.log]


def test_a_file_is_fetched_once_and_kept(weights, server, cache):
    path = fetch(weights)
    assert path == download.cached_path(weights) == cache / "mixer_b16-imagenet.npz"
    assert path.read_bytes() == CONTENT
    assert fetch(weights) == path
    assert len(server.log) == 1
    assert not leftovers(path)


def test_what_was_fetched_is_recorded_beside_it(weights):
    path = fetch(weights)
    record = json.loads(path.with_name(path.name + ".json").read_text())
    assert record.pop("date")
    assert record == {"url": weights.url, "size": len(CONTENT), "sha256": SHA256}


def test_a_cache_folder_can_be_named(weights, tmp_path):
    assert fetch(weights, cache_dir=tmp_path / "a" / "b") == tmp_path / "a" / "b" / "mixer_b16-imagenet.npz"


def test_progress_is_told_on_stderr_alone(weights, capfd):
    download.fetch(weights)
    out, err = capfd.readouterr()
    assert out == ""
    assert err == f"Downloading mixer_b16-imagenet.npz ({len(CONTENT)} bytes)\n"


# Bad connections ----------------------------------------------------------------------------------------------------


def test_a_truncated_download_goes_on_where_it_ended(weights, server):
    server.behaviour = ["truncate"]
    assert fetch(weights).read_bytes() == CONTENT
    half = len(CONTENT) // 2
    assert sent(server) == [(None, half), (f"bytes={half}-", len(CONTENT) - half)]


def test_a_stalled_download_is_given_up_and_goes_on(weights, server):
    server.behaviour = ["stall"]
    assert fetch(weights, timeout=1.0).read_bytes() == CONTENT
    assert sent(server)[1][0] == f"bytes={len(CONTENT) // 2}-"  # a busy machine may need a third request


def test_a_download_that_fails_for_good_keeps_its_part_for_the_next_call(weights, server):
    server.behaviour = ["truncate"] * transfer.ATTEMPTS
    with pytest.raises(download.DownloadError, match=r"4 attempts .* failed.*the connection ended after \d+ of 200004"):
        fetch(weights)
    assert leftovers(download.cached_path(weights)) == {
        "mixer_b16-imagenet.npz.part",
        "mixer_b16-imagenet.npz.part.json",
    }
    assert not download.cached_path(weights).exists()
    assert fetch(weights).read_bytes() == CONTENT
    assert sum(count for _, count in sent(server)) == len(CONTENT)  # not a byte twice


def test_a_file_that_changed_meanwhile_is_fetched_anew(weights, server):
    server.behaviour = ["truncate"] * transfer.ATTEMPTS
    with pytest.raises(download.DownloadError):
        fetch(weights)
    server.files["/imagenet1k/B_16.npz"] = CONTENT[::-1]
    assert fetch(weights).read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("how", ["no ranges", "no length", "chunked"])
def test_servers_without_ranges_or_lengths(weights, server, how):
    server.behaviour = ["truncate", how]
    told = {"sha256": SHA256} if how == "no length" else {}
    assert fetch(dataclasses.replace(weights, **told)).read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(weights, server):
    server.behaviour = [503, 429]
    assert fetch(weights).read_bytes() == CONTENT
    server.behaviour = [500] * transfer.ATTEMPTS
    with pytest.raises(download.DownloadError, match="500 Internal Server Error"):
        fetch(dataclasses.replace(weights, tag="other"))


@pytest.mark.parametrize("status", [404, 403, 410])
def test_a_refusal_is_told_at_once(weights, server, status):
    server.behaviour = [status]
    with pytest.raises(download.DownloadError, match=f"the server answered {status} .* for {weights.url}"):
        fetch(weights)
    assert len(server.log) == 1


def test_no_network_says_what_is_needed_and_where_to_put_it(weights, server):
    unreachable = dataclasses.replace(weights, url="http://127.0.0.1:9/imagenet1k/B_16.npz")
    with pytest.raises(download.DownloadError, match=r"cannot be reached .*refused") as error:
        fetch(unreachable)
    for needed in (unreachable.url, str(download.cached_path(weights)), "weights=", "KERAS_MLP_MIRROR", "'imagenet'"):
        assert needed in str(error.value)
    # ... and a file that was put there is used.
    download.cached_path(weights).write_bytes(CONTENT)
    assert fetch(unreachable).read_bytes() == CONTENT


def test_what_no_program_can_fetch_is_left_to_a_person(weights, server):
    by_hand = dataclasses.replace(weights, by_hand=True)
    with pytest.raises(download.DownloadError, match=r"a person has to.*put it at .*mixer_b16-imagenet\.npz"):
        fetch(by_hand)
    assert not server.log


# Servers that err or lie ------------------------------------------------------------------------------------------

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


# What lies in the way ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beside", ["", ".json", ".lock", ".part", ".part.json"])
@pytest.mark.parametrize("kind", ["folder", "full folder", "fifo"])
def test_what_is_no_file_in_place_of_one_in_the_cache(weights, cache, beside, kind):
    path = download.cached_path(weights)
    there = path.with_name(path.name + beside)
    there.parent.mkdir(parents=True)
    if kind == "fifo":
        os.mkfifo(there)
    else:
        (there / "in" if kind == "full folder" else there).mkdir(parents=True)
    try:
        assert fetch(weights).read_bytes() == CONTENT  # what does not hinder may stay
        assert beside
    except download.DownloadError as error:
        assert str(there) in str(error) and weights.url in str(error)
        assert not path.is_file() and not transfer.beside(path).is_file()


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b"null", b"\xff\xfe", b'{"url": 5}', b'{"url": "URL", "sha256": 5}', b"{}"]
)
def test_a_damaged_record_is_made_anew(weights, content):
    path = fetch(weights)
    transfer.beside(path).write_bytes(content.replace(b"URL", weights.url.encode()))
    assert fetch(weights) == path
    assert json.loads(transfer.beside(path).read_text())["sha256"] == SHA256


@pytest.mark.parametrize("variable", ["KERAS_HOME", "KERAS_MLP_MIRROR"])
def test_the_folder_of_nobody(weights, monkeypatch, variable):
    monkeypatch.setenv(variable, "~nobody-of-that-name/x")
    with pytest.raises(download.DownloadError, match=f"nobody-of-that-name.* environment variable {variable}"):
        fetch(weights)


# The wrong file -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["html", "page as binary"])
def test_a_web_page_with_status_200_is_not_the_file(weights, server, how):
    server.behaviour = [how]
    with pytest.raises(download.DownloadError, match="a web page"):
        fetch(weights)
    assert not leftovers(download.cached_path(weights)) and not download.cached_path(weights).exists()


def test_the_published_hash_is_checked(weights):
    assert fetch(dataclasses.replace(weights, sha256=SHA256[:8].upper())).exists()
    wrong = dataclasses.replace(weights, tag="other", sha256="0" * 8)
    with pytest.raises(download.DownloadError, match=f"SHA-256 {SHA256}, where the published file has 00000000"):
        fetch(wrong)
    assert not download.cached_path(wrong).exists()
    assert not any("other.npz.part" in name for name in leftovers(download.cached_path(weights)))


def test_the_published_size_is_checked_before_anything_is_fetched(weights, server):
    with pytest.raises(download.DownloadError, match="has 200004 bytes and the published file 7"):
        fetch(dataclasses.replace(weights, size=7))
    assert not leftovers(download.cached_path(weights))


def test_a_cached_file_that_changed_is_an_error(weights):
    path = fetch(weights)
    path.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(ValueError, match=r"mixer_b16-imagenet\.npz\.json recorded at first use .*. Delete it") as error:
        fetch(weights)
    assert str(path) in str(error.value)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match=r"has 200003 bytes, where .* 200004"):
        fetch(weights)
    path.unlink()
    assert fetch(weights).read_bytes() == CONTENT


def test_a_publisher_who_changes_the_file_is_noticed(weights, server):
    fetch(weights).unlink()
    server.files["/imagenet1k/B_16.npz"] = CONTENT[::-1]
    with pytest.raises(download.DownloadError, match="recorded at first use"):
        fetch(weights)


def test_a_file_put_there_by_hand_is_checked_too(weights, server):
    path = download.cached_path(weights)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"<html>quota exceeded</html>")
    with pytest.raises(ValueError, match=r"looks like a web page.*Delete it"):
        fetch(weights)
    path.write_bytes(CONTENT)
    fetch(weights)
    path.write_bytes(CONTENT[::-1])
    with pytest.raises(ValueError, match="recorded at first use"):
        fetch(weights)
    assert not server.log


# Mirrors ------------------------------------------------------------------------------------------------------------

LAYOUTS = ["{host}/imagenet1k/B_16.npz", "mixer_b16-imagenet.npz", "B_16.npz"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["folder", "http"])
def test_a_mirror_is_used_instead_of_the_publisher(weights, server, tmp_path, monkeypatch, layout, kind):
    published = dataclasses.replace(weights, url="http://publisher.invalid/imagenet1k/B_16.npz")
    place = layout.format(host="publisher.invalid")
    if kind == "folder":
        monkeypatch.setenv("KERAS_MLP_MIRROR", str(tmp_path / "mirror"))
        (tmp_path / "mirror" / place).parent.mkdir(parents=True)
        (tmp_path / "mirror" / place).write_bytes(CONTENT)
    else:
        monkeypatch.setenv("KERAS_MLP_MIRROR", f"{server.url}/mirror/")
        server.files[f"/mirror/{place}"] = CONTENT
    path = fetch(published)
    assert path == download.cached_path(published)
    assert path.read_bytes() == CONTENT
    assert not leftovers(path)


@pytest.mark.parametrize("kind", ["folder", "http"])
def test_a_mirror_without_the_file_says_where_it_was_looked_for(weights, server, tmp_path, monkeypatch, kind):
    mirror = str(tmp_path / "mirror") if kind == "folder" else f"{server.url}/mirror"
    monkeypatch.setenv("KERAS_MLP_MIRROR", mirror)
    with pytest.raises(download.DownloadError) as error:
        fetch(weights)
    for layout in LAYOUTS:
        assert f"{mirror}/{layout.format(host=server.url.removeprefix('http://'))}" in str(error.value)
    assert weights.url.removeprefix(server.url) not in [path for path, _, _ in server.log]


def test_a_mirror_serves_what_only_persons_can_fetch(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_MLP_MIRROR", str(tmp_path))
    (tmp_path / "uc").write_bytes(b"another file of the same drive")
    (tmp_path / "mixer_b16-imagenet.npz").write_bytes(CONTENT)
    drive = dataclasses.replace(weights, url="https://drive.invalid/uc?id=1", by_hand=True)
    assert fetch(drive).read_bytes() == CONTENT


def test_a_mirrored_file_is_checked(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_MLP_MIRROR", str(tmp_path))
    (tmp_path / "B_16.npz").write_bytes(CONTENT[::-1])
    with pytest.raises(download.DownloadError, match="SHA-256"):
        fetch(dataclasses.replace(weights, sha256=SHA256))
    assert not download.cached_path(weights).exists()


# Other processes, other disks ---------------------------------------------------------------------------------------

CHILD = """
import os, sys, types
# The package without its public names, for which it imports Keras: downloading needs none, and that takes seconds.
sys.modules["keras_mlp"] = types.ModuleType("keras_mlp")
sys.modules["keras_mlp"].__path__ = [sys.argv[3]]
from keras_mlp.cards import Weights
from keras_mlp.checkpoints import download
{setup}
weights = Weights("mixer_b16", "imagenet", sys.argv[1], "npz", "flax", "ImageNet-1k", 1000, "Apache-2.0")
print("ready", flush=True)
sys.stdin.readline()
try:
    print(download.fetch(weights, sys.argv[2]), flush=True)
except download.DownloadError as error:
    print("DownloadError:", error, sorted(os.listdir(sys.argv[2])), flush=True)
"""


def child(weights, folder, setup="", command=()):
    return subprocess.Popen(
        [*command, sys.executable, "-c", CHILD.format(setup=setup), weights.url, str(folder), keras_mlp.__path__[0]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def answer(process):
    """What the child printed after "ready"."""
    out, err = process.communicate("\n", timeout=120)
    assert process.returncode == 0, err
    return out.removeprefix("ready\n").strip(), err


def test_two_processes_fetch_once(weights, server, cache):
    server.behaviour = ["slow"]
    children = [child(weights, cache), child(weights, cache)]
    for process in children:
        process.stdout.readline()
    for process in children:
        process.stdin.write("\n")
        process.stdin.flush()
    (out, err), (other_out, other_err) = (answer(process) for process in children)
    assert out == other_out == str(download.cached_path(weights))
    assert sent(server) == [(None, len(CONTENT))]
    assert (err + other_err).count("Another process is downloading mixer_b16-imagenet.npz; waiting for it.") == 1


# A mount of its own needs a right that not every machine gives; the other forms work everywhere.
MOUNT = (
    "import subprocess; subprocess.run(['mount', '-t', 'tmpfs', '-o', {options!r}, 'none', sys.argv[2]], check=True)"
)
UNSHARE = ("unshare", "--map-root-user", "--mount")
_trial = (*UNSHARE, "mount", "-t", "tmpfs", "none", os.path.dirname(__file__))
try:
    CAN_MOUNT = subprocess.run(_trial, capture_output=True).returncode == 0
except FileNotFoundError:
    CAN_MOUNT = False

FULL = {"file size limit": ("import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))", ())}
READ_ONLY = {"permissions": ("os.geteuid() or os.setuid(65534)", ())}
if CAN_MOUNT:
    FULL["small disk"] = FULL["small disk, length not told"] = (MOUNT.format(options="size=100k"), UNSHARE)
    READ_ONLY["read-only disk"] = (MOUNT.format(options="ro"), UNSHARE)


@pytest.fixture
def folder():
    """A folder that every user can read."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield pathlib.Path(path)


@pytest.mark.parametrize("form", FULL)
def test_a_full_disk(weights, server, folder, form):
    server.behaviour = ["chunked"] if "not told" in form else []
    out, _ = answer(child(weights, folder, *FULL[form]))
    assert out.startswith("DownloadError:")
    assert f"The disk of {folder} is full" in out
    assert f"the file has {'an unknown number of' if 'not told' in form else 200004} bytes" in out
    assert out.endswith("['mixer_b16-imagenet.npz.lock']")  # nothing of the part is left to fill the disk


@pytest.mark.parametrize("form", READ_ONLY)
def test_a_read_only_cache_folder_without_the_file(weights, folder, form):
    folder.chmod(0o555)
    out, _ = answer(child(weights, folder, *READ_ONLY[form]))
    assert out.startswith("DownloadError:")
    assert f"The cache folder {folder} cannot be written to" in out and "KERAS_HOME" in out
    assert out.endswith("[]")


def test_a_read_only_cache_folder_with_the_file(weights, server, folder):
    path = fetch(weights, cache_dir=folder)
    for beside in leftovers(path) | {path.name + ".json", path.name + ".lock"}:
        (folder / beside).unlink()
    folder.chmod(0o555)
    assert answer(child(weights, folder, *READ_ONLY["permissions"]))[0] == str(path)
    assert len(server.log) == 1


def test_a_read_only_cache_folder_beside_a_mirror(weights, folder, monkeypatch):
    (folder / "B_16.npz").write_bytes(CONTENT)
    (folder / "cache").mkdir()
    (folder / "cache").chmod(0o555)
    monkeypatch.setenv("KERAS_MLP_MIRROR", str(folder))
    out, _ = answer(child(weights, folder / "cache", *READ_ONLY["permissions"]))
    assert out == str(folder / "B_16.npz")
