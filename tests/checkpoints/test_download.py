"""Checkpoints are fetched once, in spite of bad connections, and checked."""

import dataclasses
import json

import pytest
from checkpoints.publisher import CONTENT, SHA256, fetch, leftovers, sent

from keras_mlp.checkpoints import download, transfer


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
