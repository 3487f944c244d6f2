"""A quarantine list that no longer fits is an error in every format, and all is judged anew."""

from __future__ import annotations

from pathlib import Path

from helpers.voc_folder import voc_object, voc_xml, write_voc
from helpers.yolo_folder import BOX, write_data, write_part, write_sound

from van_dense.data.doctor.annotated_images import VocPart
from van_dense.data.doctor.doctor import Part, Quarantine, YoloPart, check_dataset
from van_dense.data.readers.annotated_images import Rules


def check_again(part: Part, changed: Path, folder: Path) -> list[str]:
    """Errors of a part after one of its files changed, with the list of before."""
    check_dataset([part]).quarantine().save(folder / "bad.json")
    changed.write_text(changed.read_text() + "\n")
    report = check_dataset([part], quarantine=Quarantine.load(folder / "bad.json"))
    return [p.what for p in report.parts[0].problems if p.severity == "error"]


def test_lines_of_a_yolo_folder_are_judged(tmp_path: Path) -> None:
    write_part(tmp_path, {"a": f"{BOX}\nx y\n", "b": BOX})
    write_sound(tmp_path)
    write_data(tmp_path)
    part = YoloPart(str(tmp_path), "train")
    found = check_again(part, tmp_path / "labels" / "train" / "b.txt", tmp_path)
    assert any("has changed since the list was written" in what for what in found)
    assert any("something that is not a number" in what for what in found)


def test_objects_of_xml_files_are_judged(tmp_path: Path) -> None:
    files = {
        "a": voc_xml(voc_object(), voc_object(box=(9, 9, 3, 3))),
        "b": voc_xml(voc_object()),
    }
    write_voc(tmp_path / "voc", files)
    part = VocPart(str(tmp_path / "voc"), "train", ("train",), Rules(None, {}, "ignore"), "auto")
    found = check_again(part, tmp_path / "voc" / "Annotations" / "b.xml", tmp_path)
    assert any("has changed since the list was written" in what for what in found)
    assert any("ends before it begins" in what for what in found)
