"""Figures of many files: titles of networks, files that can be read, pages on disk."""

from collections.abc import Iterator

import pytest
from PIL import Image

from van_dense.explain.pages import load_networks, readable, save_pages, titles_of


@pytest.mark.parametrize(
    ("runs", "backbones", "titles"),
    [
        (["runs/a"], ["van_b0"], ["van_b0"]),
        (["runs/a", "runs/b"], ["van_b0", "van_b2"], ["van_b0", "van_b2"]),
        (
            ["runs/a", "b.pt", "runs/c"],
            ["van_b0", "van_b0", "resnet18"],
            ["van_b0, a", "van_b0, b", "resnet18"],
        ),
        (
            ["a/checkpoints/best.pt", "b/checkpoints/best.pt"],
            ["van_b0", "van_b0"],
            ["van_b0, a/checkpoints/best", "van_b0, b/checkpoints/best"],
        ),
        (["x/a", "x/a.pt"], ["van_b0", "van_b0"], ["van_b0, a", "van_b0, a.pt"]),
        (["runs/v1.5", "runs/v1.6"], ["van_b0"] * 2, ["van_b0, v1.5", "van_b0, v1.6"]),
    ],
)
def test_networks_on_one_backbone_are_all_called_by_their_runs(runs, backbones, titles):
    assert titles_of(runs, backbones) == titles


def test_one_run_beside_itself_is_a_mistake():
    with pytest.raises(ValueError, match="named 2 times"):
        load_networks(["runs/a", "runs/b", "runs/a/"])


def test_unreadable_files_are_told_and_left_out(tmp_path):
    good, broken, empty = (tmp_path / name for name in ("a.png", "b.png", "c.png"))
    Image.new("RGB", (4, 4)).save(good)
    broken.write_bytes(b"no image")
    empty.touch()
    unreadable: list[str] = []
    assert list(readable([broken, good, empty], unreadable)) == [good]
    assert [message.split(":")[0] for message in unreadable] == [str(broken), str(empty)]


def page(shade: int) -> Image.Image:
    return Image.new("L", (3, 2), shade)


def test_one_page_has_the_name_and_more_are_numbered(tmp_path):
    output = tmp_path / "new" / "figure.png"
    assert save_pages([page(0)], output) == [output]
    written = save_pages([page(1), page(2), page(3)], output)
    assert [path.name for path in written] == [f"figure_00{i}.png" for i in (1, 2, 3)]
    assert [Image.open(path).getpixel((0, 0)) for path in written] == [1, 2, 3]
    assert sorted(output.parent.iterdir()) == written
    assert save_pages([], output) == []


def test_every_page_is_written_before_the_next_is_drawn(tmp_path):
    def drawn() -> Iterator[Image.Image]:
        yield page(1)
        assert (tmp_path / "x.png").exists()
        yield page(2)
        assert (tmp_path / "x_001.png").exists() and (tmp_path / "x_002.png").exists()
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        save_pages(drawn(), tmp_path / "x.png")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_pages_of_an_earlier_call_are_replaced(tmp_path, suffix):
    output = tmp_path / f"x{suffix}"
    assert len(save_pages([page(1), page(2), page(3)], output)) == 3
    assert save_pages([], output) == [] and len(list(tmp_path.iterdir())) == 3
    for count in (1, 2, 1):
        assert save_pages([page(4)] * count, output) == sorted(tmp_path.iterdir())


def test_numbered_files_that_are_no_pages_are_never_touched(tmp_path):
    photo, output = tmp_path / "x_002.png", tmp_path / "x.png"
    page(7).save(photo)
    with pytest.raises(ValueError, match=r"x_002.png is no page .* name another output"):
        save_pages(iter([page(1)]), output)
    assert list(tmp_path.iterdir()) == [photo]
    others = ["x_02.png", "x_0002.png", "x_002.jpg", "xx_002.png", "x_002b.png"]
    for name in others:
        photo.rename(photo := tmp_path / name)
        assert save_pages([page(1)] * 3, output) and Image.open(photo).getpixel((0, 0)) == 7


def test_nothing_is_drawn_for_a_place_that_cannot_be_written(tmp_path):
    def drawn() -> Iterator[Image.Image]:
        pytest.fail("drawn for nothing")
        yield page(0)

    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a folder; name a file in it"):
        save_pages(drawn(), tmp_path / "folder.png")
    with pytest.raises(ValueError, match="file is a file, no folder"):
        save_pages(drawn(), tmp_path / "file" / "x.png")
