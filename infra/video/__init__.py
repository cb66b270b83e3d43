"""Existing video in and out: what a file holds, its pictures at their own times, and the file that a dub becomes.

source: inspect and read. picture: planes of one picture, and a region of it redrawn. dub: the writer; picture_track, groups and sps are
its pictures, encoded or copied, kept its other streams. Not for the videos that engines make of portraits: infra/media.py.
"""

from infra.video.dub import DubWriter
from infra.video.picture import Colour, Picture
from infra.video.source import Sound, VideoFacts, inspect, pictures

__all__ = ["Colour", "DubWriter", "Picture", "Sound", "VideoFacts", "inspect", "pictures"]
