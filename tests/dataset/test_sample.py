import gzip

import numpy as np
import pytest

from fmnist_ray.dataset import sample
from fmnist_ray.dataset.idx import write_idx_folder
from fmnist_ray.dataset.sample import SAMPLE_FOLDER, load_sample
from fmnist_ray.errors import RequestError
from tests.dataset.comparing import assert_same_arrays
from tests.dataset.make_sample import make_sample


def test_the_sample_is_small_even_and_verified():
    dataset = load_sample()
    assert np.bincount(dataset.train.labels).tolist() == [200] * 10
    assert np.bincount(dataset.test.labels).tolist() == [50] * 10
    assert dataset.source == "sample"
    assert sum(path.stat().st_size for path in SAMPLE_FOLDER.iterdir()) < 1_500_000


def test_an_altered_sample_is_refused(small, tmp_path, monkeypatch):
    write_idx_folder(small, tmp_path, compress=True)
    monkeypatch.setattr(sample, "SAMPLE_FOLDER", tmp_path)
    with pytest.raises(RequestError, match=r"was altered.*Install the package again"):
        load_sample()


@pytest.mark.full_data
def test_the_sample_is_what_its_script_draws_from_the_release(release, tmp_path):
    made = make_sample(release)
    assert_same_arrays(load_sample(), made)
    write_idx_folder(made, tmp_path, compress=True)
    for path in SAMPLE_FOLDER.iterdir():
        shipped, again = path.read_bytes(), (tmp_path / path.name).read_bytes()
        assert gzip.decompress(shipped) == gzip.decompress(again)
        assert shipped[4:8] == bytes(4)  # no time in the header
