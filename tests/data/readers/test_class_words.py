"""Words for the names of classes."""

import pytest

from van_dense.data.readers.class_words import readable_name, spoken_names


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("n01440764", "tench, Tinca tinca"),
        ("n00000000", "n00000000"),
        ("001.Black_footed_Albatross", "Black footed Albatross"),
        ("traffic_light", "traffic light"),
        ("2.5 tons", "2.5 tons"),
        ("001.", "001."),
    ],
)
def test_names_are_made_readable(name: str, words: str) -> None:
    assert readable_name(name) == words


def test_wordnet_ids_are_spoken_as_words() -> None:
    assert spoken_names(["n01440764", "n02391049"]) == ("tench", "zebra")


def test_words_that_two_classes_share_keep_their_ids() -> None:
    cranes = ["n02012849", "n03126707", "n02391049"]
    assert spoken_names(cranes) == ("crane (n02012849)", "crane (n03126707)", "zebra")


@pytest.mark.parametrize("stranger", ["zebra", "n0239104", "n0239104x", "n99999999"])
def test_folders_stay_as_they_are_where_one_is_no_known_id(stranger: str) -> None:
    assert spoken_names(["n01440764", stranger]) == ("n01440764", stranger)
