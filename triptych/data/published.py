"""The data sets with a name: where their authors publish them, and the SHA-256 of each file."""

from dataclasses import dataclass

MEBIBYTE = 2**20

DIGITS = tuple("0123456789")
FASHION_CLASSES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
KMNIST_CLASSES = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
CIFAR10_ARCHIVE = "cifar-10-binary.tar.gz"
CIFAR10_TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
CIFAR10_TEST = ("test_batch.bin",)


@dataclass(frozen=True)
class Published:
    """A data set as its authors publish it.

    Attributes
    ----------
    mirrors : tuple of str
        The addresses of folders that hold the files, the best one first.
    sha256 : dict of str to str
        The SHA-256, in hexadecimal digits, of each file to download: gzipped IDX files, or one
        archive.
    classes : tuple of str
        What the labels 0, 1, 2 … stand for.
    members : tuple of str
        The files to take out of the archive; empty where the downloaded files are used as they are.
    most : int
        The most bytes that a file to download may have.
    """

    mirrors: tuple[str, ...]
    sha256: dict[str, str]
    classes: tuple[str, ...] = DIGITS
    members: tuple[str, ...] = ()
    most: int = 32 * MEBIBYTE

    @property
    def count(self) -> int:
        """The number of files that the data set has in the cache."""
        return len(self.members or self.sha256)


def _of_idx_files(
    train_images: str, train_labels: str, test_images: str, test_labels: str
) -> dict[str, str]:
    """Return the SHA-256 of MNIST's four files by their names."""
    return {
        "train-images-idx3-ubyte.gz": train_images,
        "train-labels-idx1-ubyte.gz": train_labels,
        "t10k-images-idx3-ubyte.gz": test_images,
        "t10k-labels-idx1-ubyte.gz": test_labels,
    }


PUBLISHED: dict[str, Published] = {
    "mnist": Published(
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        sha256=_of_idx_files(
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
    "fashion-mnist": Published(
        mirrors=(
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        sha256=_of_idx_files(
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
        classes=FASHION_CLASSES,
    ),
    "kmnist": Published(
        mirrors=(
            "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        ),
        sha256=_of_idx_files(
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        ),
        classes=KMNIST_CLASSES,
    ),
    "cifar10": Published(
        mirrors=("https://www.cs.toronto.edu/~kriz/",),
        sha256={
            CIFAR10_ARCHIVE: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
        },
        classes=CIFAR10_CLASSES,
        members=(*CIFAR10_TRAIN, *CIFAR10_TEST),
        most=256 * MEBIBYTE,
    ),
}

# SHA-256 of MNIST's four files after gunzip, which do not depend on who compressed them.
MNIST_CONTENT = {
    "train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}

NAMES = ("digits", *PUBLISHED)
