"""Generated scenes: what a scene promises about its picture and its ground truth."""

import numpy as np
import pytest

from van_dense.data.sample.scene import MIN_AREA, STUFF, THINGS, Scene, render_scene

NAMES = {category.name for category in THINGS}


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [render_scene((0, index), 64) for index in range(80)]


def test_equal_seeds_give_equal_bytes_and_other_seeds_other_pictures(scenes: list[Scene]) -> None:
    again = render_scene((0, 3), 64)
    assert again.image.tobytes() == scenes[3].image.tobytes()
    assert again.stuff.tobytes() == scenes[3].stuff.tobytes()
    assert len({scene.image.tobytes() for scene in scenes}) == len(scenes)


def test_a_seed_gives_the_same_things_at_every_size(scenes: list[Scene]) -> None:
    for index in range(5):
        large = render_scene((0, index), 128)
        assert [t.name for t in large.things] == [t.name for t in scenes[index].things]
        for thing, small in zip(large.things, scenes[index].things, strict=True):
            assert thing.mask.mean() == pytest.approx(small.mask.mean(), rel=0.2)


def test_pictures_are_landscape_square_and_portrait(scenes: list[Scene]) -> None:
    assert {scene.image.shape for scene in scenes} == {(64, 85, 3), (64, 64, 3), (64, 48, 3)}
    assert all(scene.image.dtype == np.uint8 for scene in scenes)


def test_visible_masks_and_stuff_share_the_picture_without_overlap(scenes: list[Scene]) -> None:
    for scene in scenes:
        covered = np.sum([thing.mask for thing in scene.things], axis=0) + (scene.stuff > 0)
        assert covered.max() == 1
        assert covered.mean() > 0.95  # the rest is the sun, which has no class
        assert scene.stuff.max() <= len(STUFF)


def test_every_thing_has_a_class_and_enough_visible_pixels(scenes: list[Scene]) -> None:
    for scene in scenes:
        for thing in scene.things:
            assert thing.name in NAMES
            assert thing.mask.sum() >= MIN_AREA // 2  # sampled at pixel centres


def test_all_classes_and_some_empty_scenes_and_groups_appear(scenes: list[Scene]) -> None:
    assert {thing.name for scene in scenes for thing in scene.things} == NAMES
    assert 1 <= sum(not scene.things for scene in scenes) <= 10
    crowds = [thing for scene in scenes for thing in scene.things if thing.is_crowd]
    assert 1 <= len(crowds) <= 20
    assert all(crowd.name == "person" and crowd.keypoints is None for crowd in crowds)


def test_only_single_persons_have_joints(scenes: list[Scene]) -> None:
    for scene in scenes:
        for thing in scene.things:
            is_person = thing.name == "person" and not thing.is_crowd
            assert (thing.keypoints is not None) == is_person


def test_visible_joints_lie_on_the_mask_and_joints_outside_are_zero(scenes: list[Scene]) -> None:
    seen = set()
    for scene in scenes:
        for thing in scene.things:
            if thing.keypoints is None:
                continue
            for x, y, visibility in thing.keypoints:
                seen.add(int(visibility))
                if visibility == 0:
                    assert x == y == 0
                if visibility == 2:
                    assert thing.mask[int(y), int(x)] == 1
    assert seen == {0, 1, 2}


def test_a_single_large_thing_can_be_asked_for() -> None:
    for name in sorted(NAMES):
        scene = render_scene(1, 64, only=name)
        assert [thing.name for thing in scene.things] == [name]
        assert scene.image.shape == (64, 64, 3)
        assert scene.things[0].mask.mean() > 0.04


def test_a_picture_too_small_and_an_unknown_class_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 64"):
        render_scene(0, 32)
    with pytest.raises(ValueError, match="no class 'dragon'"):
        render_scene(0, 64, only="dragon")
