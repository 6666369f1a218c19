"""Where a checkpoint is kept and found: the cache, mirrors, full and read-only disks, two processes at once."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import pytest
from checkpoints.publisher import CONTENT, SHA256, fetch, leftovers, sent

import keras_mlp
from keras_mlp.checkpoints import download, transfer

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
