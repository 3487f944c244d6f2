"""What has become of files that were predicted, in numbers and in a line."""

from __future__ import annotations

from dataclasses import dataclass, field

from van_dense.core.counting import counted


@dataclass
class Counts:
    """Counts of one file or of many."""

    unreadable: list[str] = field(default_factory=list)  # messages
    images: int = 0
    videos: int = 0  # predicted in whole or in part
    frames: int = 0
    instances: int | None = None  # None where the task has none
    segments: int | None = None  # of panoptic maps, None where the task has none
    enlarged: int = 0  # pictures of small images and videos, for their letters
    reduced: int = 0  # pictures of images that are larger than memory
    hidden: int = 0  # instances that are not drawn
    limit: float = 0.0  # score below which they are not, of the last result

    def add(self, other: Counts) -> None:
        """Add those of other files."""
        self.unreadable += other.unreadable
        self.images += other.images
        self.videos += other.videos
        self.frames += other.frames
        self.enlarged += other.enlarged
        self.reduced += other.reduced
        self.hidden += other.hidden
        if other.segments is not None:
            self.segments = (self.segments or 0) + other.segments
        if other.instances is not None:
            self.instances = (self.instances or 0) + other.instances
            self.limit = other.limit

    def summary(
        self, num_files: int, *, is_selection: bool, min_detection_score: float | None
    ) -> str:
        """What was done with so many files, in a line.

        Args:
            num_files: Number of files that there were.
            is_selection: Whether results were left out.
            min_detection_score: Score that a detection needed to get a pose, or None.
        """
        done = [f"{self.images + self.videos} of {counted(num_files, 'file')} predicted"]
        if self.videos:
            done.append(f"{counted(self.frames, 'frame')} of {counted(self.videos, 'video')}")
        verb = "kept" if is_selection else "found"
        if self.instances is not None:
            found = f"{counted(self.instances, 'instance')} {verb}"
            if min_detection_score is not None:
                found += f" in detections of score {min_detection_score:g} or more"
                found += " (--min-detection-score)"
            done.append(found)
        if self.segments is not None:
            found = f"{counted(self.segments, 'segment')} {verb}"
            below = ": all scores are below the score_threshold of the run's config"
            done.append(found if self.segments else found + below)
        if self.instances and self.hidden:
            drawn = self.instances - self.hidden
            done.append(f"{drawn} drawn, {self.hidden} below score {self.limit:g} (--min-score)")
        return ", ".join(done)
