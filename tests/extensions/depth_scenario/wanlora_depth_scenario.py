"""A scenario with a control video of depth, for models that take one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_wanlora import Scenario, SuiteFile


class DepthScenario(Scenario):
    """One prompt and the depth that the video must follow."""

    control_video: SuiteFile
    strength: float = 1.0

    def pipeline_arguments(self) -> dict[str, Any]:
        """The control video as DiffSynth's pipeline takes it."""
        from diffsynth.utils.data import VideoData  # type: ignore[import-untyped,unused-ignore]

        return {"control_video": VideoData(self.control_video), "vace_scale": self.strength}

    def key_parts(self) -> Mapping[str, str | int | float | bool | Path | None]:
        """The content of the file, and the strength."""
        return {"control_video": Path(self.control_video), "strength": self.strength}
