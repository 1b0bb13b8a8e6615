"""The worlds on which keys are moved, shared by the modules of this folder."""

from keys.cover import bench

__all__ = ["bench"]
