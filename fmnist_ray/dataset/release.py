"""What Fashion-MNIST's release holds, to the byte.

Digests are of the decompressed content, because the same content is distributed in differently
compressed files. They agree with the MD5s that the authors publish for their gzip files
(https://github.com/zalandoresearch/fashion-mnist).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ReleaseFile:
    """One of the four files.

    Attributes:
        shape: Of the array in it.
        sha256: Of the decompressed file, header included.
        array_sha256: Of the array's bytes alone, as `arrays.fingerprint` gives it.
    """

    shape: tuple[int, ...]
    sha256: str
    array_sha256: str


TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"

RELEASE: dict[str, ReleaseFile] = {
    TRAIN_IMAGES: ReleaseFile(
        (60_000, 28, 28),
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
    ),
    TRAIN_LABELS: ReleaseFile(
        (60_000,),
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
    ),
    TEST_IMAGES: ReleaseFile(
        (10_000, 28, 28),
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
    ),
    TEST_LABELS: ReleaseFile(
        (10_000,),
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
    ),
}


def release_fingerprint() -> dict[str, str]:
    """What `arrays.fingerprint` gives for the release."""
    keys = ("train_images", "train_labels", "test_images", "test_labels")
    return {key: file.array_sha256 for key, file in zip(keys, RELEASE.values(), strict=True)}
