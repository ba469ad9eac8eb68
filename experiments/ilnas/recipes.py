"""What the rows of the ILNAS paper's tables are: data, size, training, and the paper's accuracy."""

from __future__ import annotations

from dataclasses import dataclass

CIFAR, MNIST, FASHION, STL, IMAGENET = "cifar10", "mnist", "fashion_mnist", "stl10", "folder"


@dataclass(frozen=True)
class Recipe:
    """A row: one search, perhaps after another one whose network it goes on with."""

    data: tuple[str, ...]
    """Of each task a data set, perhaps with options."""
    params: int
    """|α| at the end."""
    paper: str
    """What the paper has."""
    epochs: int = 500
    frozen: float = 0.2
    """The architecture changes in 400 of 500 epochs (section 5.1)."""
    every: float = 1.0
    """Epochs from one expansion to the next."""
    batch: int = 128
    shared: float | None = None
    after: str | None = None
    """The row whose network this one begins with."""
    crop: str = "pad"
    flip: bool = True


RECIPES = {
    # Table 1
    "cifar10_0.5M": Recipe((CIFAR,), 500_000, "93.75 %"),
    "cifar10_1.0M": Recipe((CIFAR,), 1_000_000, "94.64 %"),
    "cifar10_2.5M": Recipe((CIFAR,), 2_500_000, "95.88 %"),
    "cifar10_5.0M": Recipe((CIFAR,), 5_000_000, "97.42 %"),
    # Table 2, which has no epochs: 90 are usual. The data is a folder of images by class.
    "imagenet_2.5M": Recipe((IMAGENET,), 2_500_000, "70.7 %", 90, batch=256, crop="resized"),
    "imagenet_5.0M": Recipe((IMAGENET,), 5_000_000, "74.1 %", 90, batch=256, crop="resized"),
    "imagenet_8.0M": Recipe((IMAGENET,), 8_500_000, "76.6 %", 90, batch=256, crop="resized"),
    # Table 3. Grey images have three channels; CIFAR's are enlarged beside ImageNet's. One flip for
    # all tasks: none where digits are among them.
    "cifar10_mnist_20": Recipe(
        (CIFAR, f"{MNIST}?channels=3"), 5_000_000, "95.54 %, 99.50 %", shared=0.2, flip=False
    ),
    "cifar10_fashion_20": Recipe(
        (CIFAR, f"{FASHION}?channels=3"), 5_000_000, "95.16 %, 94.23 %", shared=0.2
    ),
    "cifar10_fashion_33": Recipe(
        (CIFAR, f"{FASHION}?channels=3"), 4_500_000, "94.12 %, 94.45 %", shared=1 / 3
    ),
    "imagenet_cifar10_33": Recipe(
        (IMAGENET, f"{CIFAR}?size=224"),
        *(7_500_000, "71.2 %, 92.36 %", 90),
        batch=256,
        shared=1 / 3,
        crop="resized",
    ),
    # Section 5.2. STL-10's training images are 5,000.
    "stl10_6.0M": Recipe((f"{STL}?size=32",), 6_000_000, "83.4 %", after="cifar10_5.0M"),
    "stl10_8.0M": Recipe((f"{STL}?size=32",), 8_000_000, "85.6 %", after="stl10_6.0M"),
    "cifar10_to_fashion": Recipe(
        (f"{FASHION}?size=32&channels=3",), 600_000, "> 94 %", 100, after="cifar10_0.5M"
    ),
    "cifar10_to_mnist": Recipe(
        (f"{MNIST}?size=32&channels=3",), 600_000, "> 99 %", 100, after="cifar10_0.5M", flip=False
    ),
    "fashion_1.0M": Recipe((FASHION,), 1_000_000, "none", 100),
    "fashion_to_cifar10": Recipe(
        (f"{CIFAR}?size=28&channels=1",), 2_500_000, "90.9 %", 150, after="fashion_1.0M"
    ),
    # Small ones, which the paper does not have, of images of 16x16. No crops by four pixels.
    "fashion_small": Recipe((f"{FASHION}?size=16",), 30_000, "none", 5, every=0.25, crop="none"),
    "fashion_to_mnist_small": Recipe(
        (f"{MNIST}?size=16",),
        40_000,
        "none",
        3,
        every=0.25,
        after="fashion_small",
        crop="none",
        flip=False,
    ),
    "mnist_small": Recipe(
        (f"{MNIST}?size=16",), 40_000, "none", 3, every=0.25, crop="none", flip=False
    ),
    "mnist_fashion_20_small": Recipe(
        (f"{MNIST}?size=16", f"{FASHION}?size=16"),
        60_000,
        "none",
        5,
        every=0.25,
        shared=0.2,
        crop="none",
        flip=False,
    ),
    "mnist_fashion_0_small": Recipe(
        (f"{MNIST}?size=16", f"{FASHION}?size=16"),
        60_000,
        "none",
        5,
        every=0.25,
        shared=0.0,
        crop="none",
        flip=False,
    ),
}
