"""Packages of a finished film: further sound tracks, MOV, an HLS ladder, stems. Pictures are copied, but for the ladder's; nothing is marked here."""

from infra.packaging.hls import Ladder, heights_of
from infra.packaging.index import Index, Segment, index_of
from infra.packaging.tracks import Track, as_mov, encoded, muxed

__all__ = ["Index", "Ladder", "Segment", "Track", "as_mov", "encoded", "heights_of", "index_of", "muxed"]
