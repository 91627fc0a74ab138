from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_cifar import pixels, write_pictures
from small_runs import pixels_of

from trainables.datasets import folder as folders
from trainables.datasets.folder import Folder
from trainables.errors import DataError


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Three classes, twelve training and six test pictures of 7×9 (width × height) pixels."""
    for split, count in (("train", 12), ("test", 6)):
        images = pixels(count, seed=count)[:, :, :9, :7]
        write_pictures(tmp_path / split, images, np.arange(count) % 3, ("ant", "bee", "cow"))
    return tmp_path


def test_pictures_are_ordered_by_class_then_name(data_dir: Path) -> None:
    dataset = Folder().read(data_dir)

    order = np.argsort(np.arange(12) % 3, kind="stable")
    assert dataset.name == "folder"
    assert dataset.classes == ("ant", "bee", "cow")
    assert dataset.image_shape == (3, 9, 7)
    np.testing.assert_array_equal(dataset.train.images, pixels(12, 12)[order, :, :9, :7])
    np.testing.assert_array_equal(dataset.train.labels, np.repeat([0, 1, 2], 4))
    np.testing.assert_array_equal(dataset.test.labels, [0, 0, 1, 1, 2, 2])


def test_order_does_not_follow_the_file_system(data_dir: Path) -> None:
    before = Folder().read(data_dir)
    last = data_dir / "train/ant/00000.png"
    content = last.read_bytes()
    last.unlink()
    last.write_bytes(content)

    assert Folder().read(data_dir).digest == before.digest


def test_many_pictures_keep_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "CHUNK_SIZE", 3)
    images = pixels(20, 0)[:, :, :4, :4]
    for split in ("train", "test"):
        write_pictures(tmp_path / split, images, np.arange(20) // 10, ("a", "b"))

    np.testing.assert_array_equal(Folder().read(tmp_path).train.images, images)


def test_what_the_files_alone_tell_is_not_known_before() -> None:
    assert (Folder.class_count, Folder.train_size, Folder.image_shape) == (None, None, None)


@pytest.mark.parametrize("mode", ["1", "L", "RGBA", "P", "CMYK"])
def test_other_eight_bit_modes_become_rgb(data_dir: Path, mode: str) -> None:
    path = data_dir / "train/ant/00000.png"
    with Image.open(path) as picture:
        converted = picture.convert(mode)
    path.unlink()
    converted.save(path.with_suffix(".tif"))
    image = pixels_of(Folder().read(data_dir).train)[0]

    np.testing.assert_array_equal(image, np.asarray(converted.convert("RGB")).transpose(2, 0, 1))


def test_sixteen_bit_picture_is_refused(data_dir: Path) -> None:
    path = data_dir / "train/ant/00000.png"
    Image.fromarray(np.full((9, 7), 40_000, dtype=np.uint16)).save(path)

    (line,) = Folder().read(data_dir).train.unreadable.values()
    assert line.startswith(f"{path} is not an 8-bit picture (mode I;16")


@pytest.mark.parametrize("content", [b"", b"not a picture", None])
def test_unreadable_picture_is_named(data_dir: Path, content: bytes | None) -> None:
    path = data_dir / "test/cow/00005.png"
    path.write_bytes(path.read_bytes()[:120] if content is None else content)

    dataset = Folder().read(data_dir)
    assert not dataset.train.unreadable
    ((position, line),) = dataset.test.unreadable.items()
    assert line.startswith(f"cannot read {path} as a picture")
    images = np.asarray(dataset.test.images)
    assert not images[position].any()
    assert images[:position].any()


def test_other_size_is_named_with_both_sizes(data_dir: Path) -> None:
    path = data_dir / "test/bee/00001.png"
    Image.new("RGB", (5, 6)).save(path)

    with pytest.raises(DataError) as error:
        Folder().read(data_dir)
    assert str(error.value) == (
        f"{path} is 5×6 pixels but {data_dir}/train/ant/00000.png is 7×9: "
        "all pictures must have the same size"
    )


@pytest.mark.parametrize("split", ["train", "test"])
def test_missing_split_is_named(data_dir: Path, split: str) -> None:
    (data_dir / split).rename(data_dir / "elsewhere")

    for method in (Folder().read, Folder().signature):
        with pytest.raises(DataError, match=rf"no folder {data_dir / split}: put train/<class"):
            method(data_dir)


def test_pictures_without_class_folders(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / split / "a.png")

    with pytest.raises(DataError, match=rf"no class folders in {tmp_path / 'train'}"):
        Folder().read(tmp_path)


@pytest.mark.parametrize("split", ["train", "test"])
def test_pictures_beside_class_folders_are_refused(data_dir: Path, split: str) -> None:
    (data_dir / split / "labels.csv").write_text("label\n")
    assert len(Folder().read(data_dir).train) == 12
    for name in ("b.PNG", "a.webp"):
        (data_dir / split / name).write_bytes(b"")

    for method in (Folder().read, Folder().signature):
        with pytest.raises(DataError) as error:
            method(data_dir)
        assert str(error.value) == (
            f"{data_dir}/{split} has pictures beside its class folders (2, the first is a.webp): "
            "move them into the folders of their classes, or remove them"
        )


def test_pipe_in_a_class_folder_counts_as_unreadable(data_dir: Path) -> None:
    os.mkfifo(data_dir / "train/bee/pipe.png")

    dataset = Folder().read(data_dir)
    assert dataset.train.unreadable == {
        8: f"cannot read {data_dir}/train/bee/pipe.png, which is no regular file: remove it"
    }


def test_empty_class_is_named(data_dir: Path) -> None:
    (data_dir / "train/dog").mkdir()

    with pytest.raises(DataError, match=rf"class folder {data_dir}/train/dog is empty"):
        Folder().read(data_dir)


@pytest.mark.parametrize(("split", "lacks"), [("train", "test"), ("test", "train")])
def test_classes_that_differ_between_splits_are_named(
    data_dir: Path, split: str, lacks: str
) -> None:
    write_pictures(data_dir / split, pixels(1, 0)[:, :, :9, :7], np.zeros(1, int), ("dog",))

    with pytest.raises(DataError, match=rf"{split}/ has class .* missing in {lacks}/ \(dog\)"):
        Folder().read(data_dir)


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_pictures(tmp_path / split, pixels(2, 0), np.zeros(2, int), ("a",))

    with pytest.raises(DataError, match="has 1 class folders: folder needs at least 2"):
        Folder().read(tmp_path)


def test_classes_that_differ_by_case_alone_are_refused(data_dir: Path) -> None:
    for split in ("train", "test"):
        write_pictures(data_dir / split, pixels(1, 0)[:, :, :9, :7], np.zeros(1, int), ("Ant",))

    with pytest.raises(DataError, match=r"train/Ant and .*train/ant differ only in case"):
        Folder().read(data_dir)


def test_class_name_that_is_not_utf8_is_refused(data_dir: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    (data_dir / "train" / name).mkdir()

    with pytest.raises(DataError) as error:
        Folder().read(data_dir)
    assert r"train/caf\udce9 is not UTF-8" in str(error.value)
    str(error.value).encode()


def test_hidden_files_are_passed_over(data_dir: Path) -> None:
    before = Folder().read(data_dir).digest
    (data_dir / "train/.hidden").mkdir()
    (data_dir / "train/ant/.DS_Store").write_bytes(b"x")

    assert Folder().read(data_dir).digest == before


def test_pictures_that_do_not_fit_into_memory_are_refused(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sysconf", lambda name: 1 if name == "SC_PAGE_SIZE" else 2000)

    with pytest.raises(DataError, match="more than half of this machine's"):
        Folder().read(data_dir)


def test_signature_follows_names_sizes_and_times(data_dir: Path) -> None:
    signatures = [Folder().signature(data_dir)]
    path = data_dir / "train/ant/00000.png"

    assert Folder().signature(Path(os.path.relpath(data_dir))) == signatures[0]
    os.utime(path, ns=(1, 1))
    signatures.append(Folder().signature(data_dir))
    path.rename(path.with_name("00001.png"))
    signatures.append(Folder().signature(data_dir))
    path.with_name("00001.png").write_bytes(b"")
    os.utime(path.with_name("00001.png"), ns=(1, 1))
    signatures.append(Folder().signature(data_dir))
    assert len(set(signatures)) == 4


def test_dangling_link_is_named(data_dir: Path) -> None:
    link = data_dir / "train/ant/link.png"
    link.symlink_to(data_dir / "nowhere.png")

    with pytest.raises(DataError, match=f"cannot read {link}"):
        Folder().signature(data_dir)
    (line,) = Folder().read(data_dir).train.unreadable.values()
    assert line.startswith(f"cannot read {link}")


def test_not_one_picture_that_can_be_read(data_dir: Path) -> None:
    for path in data_dir.glob("train/*/*"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="none of the pictures can be read"):
        Folder().read(data_dir)


def test_files_of_a_folder_are_named_in_the_order_of_samples(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label, name in enumerate(("b", "a")):
            for n in (2, 10, 1):
                path = tmp_path / split / name / f"{n}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (4, 4), (10 * n, label, 0)).save(path)
    dataset = Folder().read(tmp_path)
    files = Folder().list_files(tmp_path)
    assert files[:3] == ("a/1.png", "a/10.png", "a/2.png")
    for file, image in zip(files, pixels_of(dataset.train), strict=True):
        with Image.open(tmp_path / "train" / file) as picture:
            assert np.asarray(picture)[0, 0].tolist() == image[:, 0, 0].tolist()
