import dataclasses
import hashlib
import json
import os
import pathlib
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


@pytest.mark.parametrize("how", ["no ranges", "no length"])
def test_servers_without_ranges_or_lengths(weights, server, how):
    server.behaviour = ["truncate", how]
    assert fetch(weights).read_bytes() == CONTENT


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
    server.behaviour = ["no length"] if "not told" in form else []
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
