"""Every format, on tiny files in the official layout, and on the real ones."""

from __future__ import annotations

import gzip
import os
import pickle
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import growc
from growc.train import open_data

RANDOM = np.random.default_rng(0)


def some(*shape: int) -> Any:
    return RANDOM.integers(0, 256, shape).astype(np.uint8)


def cifar10_binary(where: Path, test: int = 3) -> Any:
    where.mkdir(parents=True)
    pixels = some(10 + test, 3072)
    labels = (np.arange(10 + test) % 10).astype(np.uint8)[:, None]
    rows = np.hstack([labels, pixels])
    for i in range(5):
        (where / f"data_batch_{i + 1}.bin").write_bytes(rows[2 * i : 2 * i + 2].tobytes())
    (where / "test_batch.bin").write_bytes(rows[10:].tobytes())
    (where / "batches.meta.txt").write_text("\n".join("abcdefghij") + "\n\n")
    return pixels.reshape(-1, 3, 32, 32)


def python2(content: dict[bytes, Any]) -> bytes:
    """As the published files: protocol 2, the array's bytes as a string of Python 2."""
    items = b""
    for key, value in content.items():
        items += b"U" + bytes([len(key)]) + key
        if isinstance(value, np.ndarray):
            data = value.tobytes()
            items += b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
            items += (
                b"(K\x01" + b"".join(b"M" + struct.pack("<H", n) for n in value.shape) + b"\x86"
            )
            items += (
                b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff"
            )
            items += b"\xff\xffK\x00tb\x89T" + struct.pack("<I", len(data)) + data + b"tb"
        else:
            members = (
                b"U" + bytes([len(m)]) + m if isinstance(m, bytes) else pickle.dumps(m, 2)[2:-1]
                for m in value
            )
            items += b"](" + b"".join(members) + b"e"
        items += b"s"
    return b"\x80\x02}" + items + b"."


def test_cifar10_binary(tmp_path: Path) -> None:
    pixels = cifar10_binary(tmp_path / "cifar-10-batches-bin", test=7)
    for where in (tmp_path, tmp_path / "cifar-10-batches-bin"):
        data = open_data(f"cifar10:{where}", validation=0)
        assert (len(data.train), len(data.test), data.classes) == (10, 7, tuple("abcdefghij"))
        np.testing.assert_array_equal(data.train.images(range(10)), pixels[:10])
        np.testing.assert_array_equal(data.test.images([6, 0]), pixels[[16, 10]])
        assert data.train.labels.tolist() == list(range(10))


@pytest.mark.parametrize("write", [python2, lambda d: pickle.dumps(d, 4)])
def test_python_versions(tmp_path: Path, write: Callable[[Any], bytes]) -> None:
    pixels = some(10, 3072)
    files = {
        f"data_batch_{i}": {b"data": pixels[2 * i - 2 : 2 * i], b"labels": [0, 1]}
        for i in range(1, 6)
    }
    files["test_batch"] = {b"data": pixels[:1], b"labels": [1]}
    files["batches.meta"] = {b"label_names": [b"x", b"y"]}
    for name, content in files.items():
        (tmp_path / name).write_bytes(write(content))
    data = open_data(f"cifar10:{tmp_path}", validation=0)
    np.testing.assert_array_equal(data.train.images(range(10)).reshape(10, -1), pixels)
    assert data.classes == ("x", "y")
    (tmp_path / "test_batch").write_bytes(write({b"data": pixels[:1], b"labels": [10**5000]}))
    with pytest.raises(growc.GrowcError, match="record 0 has the label 4611686018427387904"):
        open_data(f"cifar10:{tmp_path}")
    below = tmp_path / "cifar-100-python"
    below.mkdir()
    for name, labels in (("train", [1, 0]), ("test", [0, 1])):
        (below / name).write_bytes(write({b"data": pixels[:2], b"fine_labels": labels}))
    (below / "meta").write_bytes(write({b"fine_label_names": [b"x", b"y"]}))
    assert open_data(f"cifar100:{tmp_path}").train.labels.tolist() == [1, 0]


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch $GROWC_EVIL",)


def test_a_pickle_is_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROWC_EVIL", str(tmp_path / "evil"))
    for name in ("train", "test"):
        (tmp_path / name).write_bytes(b"")
    attacks = [
        pickle.dumps({b"fine_label_names": Evil()}),
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.__new__\x93.",
    ]
    for attack in attacks:
        (tmp_path / "meta").write_bytes(attack)
        with pytest.raises(growc.GrowcError, match="the pickle wants to call"):
            open_data(f"cifar100:{tmp_path}")
    assert not (tmp_path / "evil").exists()
    # A stand-in whose text is no text, as a key.
    key = b"\x80\x04}cnumpy\nndarray\nN}\x8c\x07__str__cnumpy\ndtype\ns\x86b)\x81K\x00s."
    for damaged in (key, b"", b"\x80\x02}", b"I1\n.", python2({b"names": some(2, 256)})[:-9]):
        (tmp_path / "meta").write_bytes(damaged)
        with pytest.raises(growc.GrowcError, match=re.escape(str(tmp_path / "meta"))):
            open_data(f"cifar100:{tmp_path}")


def test_cifar100_binary_and_stl10(tmp_path: Path) -> None:
    pixels = some(2, 3072)
    rows = np.hstack([np.array([[9, 1], [9, 0]], np.uint8), pixels]).tobytes()
    for name in ("train.bin", "test.bin"):
        (tmp_path / name).write_bytes(rows)
    (tmp_path / "fine_label_names.txt").write_text("x\ny\n")
    data = open_data(f"cifar100:{tmp_path}")
    assert data.train.labels.tolist() == [1, 0]
    np.testing.assert_array_equal(data.test.images([0, 1]).reshape(2, -1), pixels)
    planes = some(2, 3, 96, 96)
    for name in ("train", "test"):
        (tmp_path / f"{name}_X.bin").write_bytes(planes.swapaxes(2, 3).tobytes())
        (tmp_path / f"{name}_y.bin").write_bytes(b"\x01\x02")
    (tmp_path / "class_names.txt").write_text("x\ny\n")
    data = open_data(f"stl10:{tmp_path}", validation=0)
    np.testing.assert_array_equal(data.train.images([0, 1]), planes)
    assert data.train.labels.tolist() == [0, 1]
    (tmp_path / "test_y.bin").write_bytes(b"\x00\x02")
    with pytest.raises(growc.GrowcError, match="label 0, but labels are 1 to 2"):
        open_data(f"stl10:{tmp_path}")


def idx(array: Any) -> bytes:
    return (
        bytes([0, 0, 8, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


@pytest.mark.parametrize("packed", [False, True])
def test_idx(tmp_path: Path, packed: bool) -> None:
    where = tmp_path / "FashionMNIST" / "raw"
    where.mkdir(parents=True)
    pixels, labels = some(4, 5, 6), np.array([0, 9, 0, 9], np.uint8)
    for part in ("train", "t10k"):
        for name, array in (("images-idx3", pixels), ("labels-idx1", labels)):
            file = where / f"{part}-{name}-ubyte{'.gz' if packed else ''}"
            file.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    data = open_data(f"fashion_mnist:{tmp_path}", validation=0)
    assert data.shape == (1, 5, 6)
    np.testing.assert_array_equal(data.train.images([3, 1])[:, 0], pixels[[3, 1]])
    with pytest.raises(growc.GrowcError, match="no files of MNIST"):
        open_data(f"mnist:{tmp_path}")
    file = next(where.glob("t10k-images*"))
    huge = bytes([0, 0, 8, 3]) + b"\xff" * 12
    for content, message in [
        (idx(pixels)[:-1], "119 follow"),
        (idx(pixels) + b"x", "more follow"),
        (b"PK" + idx(pixels), "starts with the bytes"),
        (huge, "0 follow"),
        (idx(pixels)[:9], "truncated within its sizes"),
        (idx(pixels[:3]), "4 labels for the 3 images"),
        (idx(pixels[:0]), "holds nothing"),
    ]:
        file.write_bytes(gzip.compress(content) if packed else content)
        with pytest.raises(growc.GrowcError, match=message):
            open_data(f"fashion_mnist:{tmp_path}")
    if packed:
        file.write_bytes(gzip.compress(idx(pixels))[:-20])
        with pytest.raises(growc.GrowcError, match="can't be read"):
            open_data(f"fashion_mnist:{tmp_path}")


def test_folder(tmp_path: Path) -> None:
    for part in ("train", "val"):
        for i, name in enumerate(("cat", "dog")):
            (tmp_path / part / name / "images").mkdir(parents=True)
            image = Image.new("RGB", (30 + 40 * i, 30), (200, 0, 0))
            image.paste((0, 0, 99), (15 + 20 * i, 0, 30 + 40 * i, 30))
            image.save(tmp_path / part / name / "images" / "a.png")
            (tmp_path / part / name / "notes.txt").write_text("no image")
    Image.new("L", (9, 90), 77).save(tmp_path / "train" / "dog" / "grey.JPEG", quality=95)
    data = open_data(f"folder:{tmp_path}?size=10", validation=0)
    assert (data.classes, data.shape) == (("cat", "dog"), (3, 10, 10))
    assert sorted(data.train.labels.tolist()) == [0, 1, 1]
    images = data.test.images([1, 0])
    assert images[:, :, 5, [0, 9]].tolist() == [[[200, 0], [0, 0], [0, 99]]] * 2
    assert open_data(f"folder:{tmp_path}").shape == (3, 224, 224)
    broken = tmp_path / "val" / "cat" / "images" / "a.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(growc.GrowcError, match=re.escape(str(broken))):
        open_data(f"folder:{tmp_path}").test.images([0])
    broken.unlink()
    with pytest.raises(growc.GrowcError, match="no image files in this folder of a class"):
        open_data(f"folder:{tmp_path}")
    (tmp_path / "train" / "emu").mkdir()
    with pytest.raises(growc.GrowcError, match="no class `emu`, which `train` has"):
        open_data(f"folder:{tmp_path}")
    with pytest.raises(growc.GrowcError, match="no folder `train`"):
        open_data(f"folder:{tmp_path / 'train'}")


def test_missing_and_truncated_files(tmp_path: Path) -> None:
    with pytest.raises(growc.GrowcError, match="no files of CIFAR-10"):
        open_data(f"cifar10:{tmp_path}")
    where = tmp_path / "a"
    cifar10_binary(where)
    file = where / "data_batch_3.bin"
    content = file.read_bytes()
    for wrong, message in (
        (content[:-1], "record 1 is truncated"),
        (b"", "the file is empty"),
        (b"\x0a" + content[1:], "record 0 has the label 10, but labels are 0 to 9"),
    ):
        file.write_bytes(wrong)
        with pytest.raises(growc.GrowcError, match=message):
            open_data(f"cifar10:{tmp_path}")
    file.unlink()
    with pytest.raises(growc.GrowcError, match=r"`data_batch_3.bin` is missing"):
        open_data(f"cifar10:{tmp_path}")
    with pytest.raises(growc.GrowcError, match="this is a file"):
        open_data(f"cifar10:{where / 'test_batch.bin'}")
    file.write_bytes(content)
    cifar10_binary(tmp_path / "b")
    with pytest.raises(growc.GrowcError, match="several folders have CIFAR-10"):
        open_data(f"cifar10:{tmp_path}")


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("cifar10", (49_000, 1_000, 1_000)),
        ("mnist", (58_800, 1_200, 10_000)),
        ("fashion_mnist", (58_800, 1_200, 10_000)),
    ],
)
def test_real_data(root: Path, tmp_path: Path, name: str, sizes: tuple[int, int, int]) -> None:
    shared = Path(os.environ.get("GROWC_SHARED", root.parent / "shared"))
    script = shared / "data" / "unpack.py"
    if not script.exists():
        pytest.skip("the real images are not on this machine (see tests/conftest.py)")
    subprocess.run([sys.executable, script, tmp_path, name], check=True, capture_output=True)
    data = open_data(f"{name}:{tmp_path}")
    assert (len(data.train), len(data.validation), len(data.test)) == sizes
    assert set(data.validation.labels.tolist()) == set(range(10))
