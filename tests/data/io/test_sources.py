"""Everything that can be predicted becomes a list of images, each read as RGB."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from van_dense.data.dataset import ReadError
from van_dense.data.io.image import read_image
from van_dense.data.io.sources import (
    OutputNames,
    find_files,
    find_sources,
    named_sources,
    output_names,
    read_source,
    root_of,
    source_bytes,
    source_name,
)
from van_dense.data.io.suffixes import SUFFIXES


def sources_of(given) -> list:
    return [source for _, source in named_sources(given)]


def names_of(given) -> list[str]:
    return [name for name, _ in named_sources(given)]


@pytest.fixture
def folder(tmp_path) -> Path:
    """b.jpg, a.PNG and inner/c.png, beside notes."""
    for name in ("b.jpg", "a.PNG", "inner/c.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), "red").save(path)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    return tmp_path / "photos"


def test_a_folder_gives_its_images_in_all_depths_in_order(folder):
    assert sources_of(folder) == [folder / n for n in ("a.PNG", "b.jpg", "inner/c.png")]


def test_a_pattern_gives_the_images_that_match(folder):
    assert find_files(f"{folder}/*") == [folder / "a.PNG", folder / "b.jpg"]
    assert find_files(f"{folder}/**/c.*") == [folder / "inner/c.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(folder):
    odd = folder / "x[1].png"
    Image.new("L", (4, 4)).save(odd)
    assert find_files(odd) == [odd]
    assert root_of(odd) == folder


def test_any_other_path_is_one_file_which_need_not_exist():
    assert sources_of("nowhere.jpg") == [Path("nowhere.jpg")]


def test_several_of_different_kinds_stay_in_their_order(folder):
    array, image = np.zeros((4, 5, 3), np.uint8), Image.new("L", (3, 2))
    found = sources_of([array, folder / "inner", image])
    assert found[0] is array and found[1] == folder / "inner/c.png" and found[2] is image


@pytest.mark.parametrize("given", ["empty", "empty/*.jpg"])
def test_a_folder_or_pattern_without_images_is_an_error(given, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty.*: nothing to read in this"):
        sources_of(tmp_path / given)


def test_what_is_no_image_is_named():
    for given in (3, [3], None, iter([b""])):
        with pytest.raises(TypeError, match=r"is no image; give a path.*or several of them"):
            sources_of(given)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_a_pillow_image_reads_as_its_file_does(mode, tmp_path):
    values = np.arange(48, dtype=np.uint8).reshape(6, 8)
    image = (
        Image.fromarray(values.astype(np.uint16) * 1000)
        if mode == "I;16"
        else Image.fromarray(values * 5).convert("RGB").convert(mode)
    )
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    image.save(path)
    assert (read_source(image, "x") == read_image(path)).all()
    assert (read_source(Image.open(path), "x") == read_image(path)).all()


def test_an_opened_pillow_image_is_turned_upright_by_its_exif(tmp_path):
    image = Image.new("RGB", (8, 6), "red")
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert read_source(Image.open(tmp_path / "turned.jpg"), "x").shape == (8, 6, 3)


def test_a_truncated_pillow_image_is_a_read_error_that_names_it(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.png")
    data = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(ReadError, match="the third: broken image"):
        read_source(Image.open(tmp_path / "cut.png"), "the third")


def test_names_are_paths_where_there_is_one_and_numbers_elsewhere(folder):
    assert source_name(Path("a/b.jpg"), 3) == "a/b.jpg"
    assert source_name(Image.open(folder / "b.jpg"), 3) == str(folder / "b.jpg")
    assert source_name(Image.new("L", (2, 2)), 3) == "image 3"
    assert source_name(np.zeros((2, 2, 3), np.uint8), 3) == "image 3"


def test_output_names_keep_the_subfolders_of_one_folder():
    files = [Path("/data/photos/a.jpg"), Path("/data/photos/inner/b.jpg")]
    assert output_names(files, [Path("/data/photos")] * 2) == ["a", "inner/b"]


def test_output_names_tell_two_folders_apart():
    files = [Path("/data/left/a.jpg"), Path("/data/right/a.jpg")]
    roots = [Path("/data/left"), Path("/data/right")]
    assert output_names(files, roots) == ["left/a", "right/a"]


def test_output_names_that_differ_only_by_suffix_or_case_are_numbered():
    files = [Path(f"/data/{name}") for name in ("a.jpg", "a.png", "A.png", "a_2.png")]
    assert output_names(files, [Path("/data")] * 4) == ["a", "a_2", "A_3", "a_2_2"]


def test_the_root_of_a_pattern_has_no_wildcard(tmp_path):
    assert root_of(tmp_path / "runs*" / "**" / "x.jpg") == tmp_path
    assert root_of(tmp_path) == tmp_path
    assert root_of(tmp_path / "x.jpg") == tmp_path


def test_folders_that_are_called_like_images_are_no_files(folder):
    (folder / "odd.png").mkdir()
    assert len(find_files(folder)) == 3 and len(find_files(f"{folder}/*")) == 2
    Image.new("L", (4, 4)).save(folder / "odd.png/inside.png")
    assert find_files(folder)[-1] == folder / "odd.png/inside.png"


def test_dots_lead_no_name_out_of_the_output_folder(folder, monkeypatch):
    (folder / "work").mkdir()
    monkeypatch.chdir(folder / "work")
    assert root_of("../inner") == folder / "inner" and root_of("../b.jpg") == folder
    files = [Path("../b.jpg"), Path("../inner/../inner/c.png")]
    assert output_names(files, [root_of(file) for file in files]) == ["b", "inner/c"]
    (folder / "work/sub").mkdir()  # a pattern that leads above its own root
    outside = find_files("*/../../b.jpg")
    assert output_names(outside, [root_of("*/../../b.jpg")]) == ["b"]


def test_sources_are_named_once_in_their_order(folder):
    Image.new("L", (4, 4)).save(folder / "inner/b.png")
    assert names_of(folder) == ["a", "b", "inner/b", "inner/c"]
    assert names_of([folder / "b.jpg", folder / "inner/b.png"]) == ["b", "b_2"]
    array = np.zeros((4, 5, 3), np.uint8)
    opened = Image.open(folder / "b.jpg")
    assert names_of([array, folder / "inner", opened]) == ["image 0", "b", "c", "b_2"]


def test_names_differ_even_where_a_file_is_called_like_a_number():
    names = OutputNames()
    assert [names.add(Path(name), Path("/x")) for name in ("a", "b/a", "a_2")] == [
        "a",
        "a_2",
        "a_2_2",
    ]


def test_the_memory_of_a_source_is_known_before_it_is_read(folder):
    array = np.zeros((4, 5, 3), np.uint8)
    given = [array, Image.new("L", (3, 2)), folder / "b.jpg", folder / "notes.txt"]
    assert [source_bytes(source) for source in given] == [60, 18, 144, 0]


def test_a_file_that_two_sources_spell_differently_counts_once(folder, monkeypatch):
    found = find_sources([str(folder / "b.jpg"), str(folder)])
    assert list(found.values()).count("b") == 1 and len(found) == 3
    monkeypatch.chdir(folder / "inner")
    assert list(find_sources(["c.png", "../inner/c.png", "../b.jpg"]).values()) == ["inner/c", "b"]


def test_videos_are_named_apart_from_images(folder):
    (folder / "b.mp4").touch()
    found = find_sources([str(folder)])
    assert found[folder / "b.mp4"] == found[folder / "b.jpg"] == "b"
    assert folder / "b.mp4" not in find_sources([str(folder)], SUFFIXES)


def test_files_of_folders_that_are_left_out_are_no_sources(folder, monkeypatch):
    monkeypatch.chdir(folder)
    found = find_sources(["."], leave_out=[Path("inner"), Path("nowhere")])
    assert list(found.values()) == ["a", "b"]
    assert len(find_sources([str(folder)], leave_out=[folder / "inn"])) == 3
    with pytest.raises(ValueError, match=r"nothing to read but 1 file among results, in .*inner;"):
        find_sources(["inner/c.png", "inner"], leave_out=[Path("inner")])


def test_a_source_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match=r"nowhere.jpg: no such file or folder"):
        find_sources(["nowhere.jpg"])


@pytest.mark.parametrize("given", ["photos", "photos/*"])
def test_a_link_that_leads_nowhere_is_listed_as_readers_list_it(folder, given):
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "inner" / "around").symlink_to(folder, target_is_directory=True)
    names = [path.name for path in find_sources([str(folder.parent / given)], SUFFIXES)]
    assert "gone.png" in names and len(names) == len(set(names))


def test_a_pattern_counts_what_it_leaves_out_once(folder, caplog):
    (folder / "inner" / "around").symlink_to(folder, target_is_directory=True)
    caplog.set_level("INFO")
    assert len(find_files(f"{folder}/**/*")) == 3
    assert "left out: 2 files of other kinds" in caplog.text
