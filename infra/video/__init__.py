"""Existing video in and out: what a file holds, its pictures at their own times, and the file that a dub becomes.

source: inspect and read. picture: planes of one picture, and a region of it redrawn. film, dub: the writers; window is the part of a film that
stands by itself, picture_track, groups and sps are a film's pictures, encoded or copied, kept its other streams.
"""

from infra.video.dub import DubWriter
from infra.video.film import FilmWriter
from infra.video.picture import Colour, Picture
from infra.video.source import Sound, VideoFacts, facts_of, inspect, pictures

__all__ = ["Colour", "DubWriter", "FilmWriter", "Picture", "Sound", "VideoFacts", "facts_of", "inspect", "pictures"]
