import os
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from fmnist_ray.dataset import sources
from fmnist_ray.dataset.arrays import fingerprint
from fmnist_ray.dataset.cache import cache_folder, read_cache, write_cache
from fmnist_ray.dataset.debian import download_from_debian
from fmnist_ray.dataset.idx import ReleaseCheck, read_idx_folder, write_idx_folder
from fmnist_ray.dataset.mirrors import download_from_mirrors
from fmnist_ray.dataset.progress import no_progress
from fmnist_ray.dataset.release import RELEASE, TRAIN_IMAGES, release_fingerprint
from fmnist_ray.dataset.sources import fetch_release, load_dataset
from fmnist_ray.errors import RequestError
from tests.dataset.comparing import assert_same_arrays

ORIGINAL_PROXIES = {
    name: os.environ[name] for name in ("http_proxy", "https_proxy") if name in os.environ
}


@pytest.fixture
def nothing_here(tmp_path, monkeypatch):
    """A machine without a cache, an installed package, a network or apt."""
    monkeypatch.delenv("FMNIST_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sources, "SYSTEM_FOLDER", tmp_path / "system")
    _use_proxy(monkeypatch, "http://127.0.0.1:9")  # the discard port: nobody listens


def _use_proxy(monkeypatch, address):
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, address)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def mirror(monkeypatch):
    """A server in the place of every host; it answers with its `files`, by name."""
    files = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            content = files.get(self.path.rpartition("/")[2])
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content or b"")

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files = files
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    _use_proxy(monkeypatch, f"http://127.0.0.1:{server.server_port}")
    yield server
    server.shutdown()
    server.server_close()


def test_when_nothing_works_every_source_is_named_with_its_reason(nothing_here, tmp_path, capfd):
    said = []
    with pytest.raises(RequestError) as error:
        load_dataset(report=said.append)
    lines = str(error.value).splitlines()
    assert lines[0] == "Fashion-MNIST could not be had from any source:"
    assert lines[1] == f"- cache: {cache_folder()} is not there yet."
    assert lines[2] == f"- system folder: {tmp_path / 'system'} is not there."
    assert lines[3].startswith("- public mirrors: ")
    assert "Connection refused" in lines[3]
    assert lines[4] == (
        "- Debian's package dataset-fashion-mnist: apt-get and dpkg not found; "
        "is this Debian or Ubuntu?"
    )
    assert "--data DIR" in lines[5]
    assert "--data sample" in lines[5]
    assert [line.split(" from ")[0] for line in said] == [
        "Fetching Fashion-MNIST (31 MB)",
        "Not",
        "Fetching Fashion-MNIST (31 MB)",
        "Not",
    ]
    assert not cache_folder().exists()
    assert capfd.readouterr() == ("", "")


def test_a_damaged_download_is_refused_and_leaves_no_cache(nothing_here, mirror):
    mirror.files["train-images-idx3-ubyte.gz"] = b"not the file"
    with pytest.raises(RequestError, match=r"public mirrors: .*corrupted"):
        fetch_release()
    assert not cache_folder().exists()


def test_data_names_a_folder_or_the_sample_and_nothing_else_is_tried(
    nothing_here, small, tmp_path, monkeypatch
):
    write_idx_folder(small, tmp_path, compress=True)
    assert_same_arrays(load_dataset(str(tmp_path)), small)
    assert load_dataset("sample").source == "sample"
    monkeypatch.setenv("FMNIST_DATA", str(tmp_path))
    assert_same_arrays(load_dataset(), small)
    assert load_dataset("sample").source == "sample"
    with pytest.raises(RequestError, match="elsewhere is not there"):
        load_dataset(str(tmp_path / "elsewhere"))


@pytest.mark.full_data
def test_the_cache_goes_first_and_a_damaged_one_is_replaced(
    nothing_here, release, tmp_path, monkeypatch
):
    assert write_cache(release).source == f"cache {cache_folder()}"
    assert_same_arrays(fetch_release(), release)
    damaged = cache_folder() / TRAIN_IMAGES
    content = np.fromfile(damaged, dtype=np.uint8)
    content[1_000_000] ^= 1
    content.tofile(damaged)
    with pytest.raises(RequestError) as error:
        read_cache()
    assert str(damaged) in str(error.value)
    assert RELEASE[TRAIN_IMAGES].sha256 in str(error.value)

    def download(folder, progress):
        write_idx_folder(release, folder, compress=False)
        return folder

    monkeypatch.setattr(sources, "download_from_mirrors", download)
    said = []
    assert_same_arrays(fetch_release(report=said.append), release)
    assert said[0].startswith("The cached copy cannot be used and will be replaced: ")
    assert_same_arrays(read_cache(), release)
    assert [entry.name for entry in cache_folder().parent.iterdir()] == ["fashion-mnist"]


@pytest.mark.full_data
def test_what_cannot_be_kept_is_still_used(nothing_here, release, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file in the way")

    def download(folder, progress):
        write_idx_folder(release, folder, compress=False)
        return folder

    monkeypatch.setattr(sources, "download_from_mirrors", download)
    said = []
    assert fetch_release(report=said.append).source == "public mirrors, not kept"
    assert "Set XDG_CACHE_HOME" in said[-1]


@pytest.mark.full_data
def test_the_system_folder_goes_before_the_network(nothing_here, release, tmp_path):
    (tmp_path / "system").mkdir()
    write_idx_folder(release, tmp_path / "system", compress=False)
    found = fetch_release()
    assert found.source == f"system folder {tmp_path / 'system'}"
    assert fingerprint(found) == release_fingerprint()


@pytest.mark.full_data
def test_debians_package_and_the_mirrors_hold_the_release(tmp_path, mirror, monkeypatch):
    if shutil.which("apt-get") is None:
        with pytest.raises(RequestError, match="apt-get"):
            download_from_debian(tmp_path, no_progress)
        return
    with monkeypatch.context() as direct:
        for name in ("http_proxy", "https_proxy"):
            direct.delenv(name)
            if name in ORIGINAL_PROXIES:
                direct.setenv(name, ORIGINAL_PROXIES[name])
        debian_steps = []
        files = download_from_debian(tmp_path, lambda *step: debian_steps.append(step))
    release = read_idx_folder(files, ReleaseCheck.ALWAYS)
    assert fingerprint(release) == release_fingerprint()
    assert debian_steps[-1] == (30, 30)

    # The authors' files are the package's but for the gzip header: time and name of the file.
    for stem in RELEASE:
        written_at = 1504176606 if stem.startswith("train") else 1504176627
        header = b"\x1f\x8b\x08\x08" + written_at.to_bytes(4, "little") + b"\x00\x03"
        packed = (files / f"{stem}.gz").read_bytes()
        mirror.files[f"{stem}.gz"] = header + stem.encode() + b"\0" + packed[10:]
    steps = []
    (tmp_path / "mirrored").mkdir()
    found = download_from_mirrors(tmp_path / "mirrored", lambda *step: steps.append(step))
    assert_same_arrays(read_idx_folder(found, ReleaseCheck.ALWAYS), release)
    assert steps[-1] == (30, 30)
