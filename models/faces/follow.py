"""Every face of a video, followed while its pictures stream by: tracks with gaps, which end where a shot ends.

Each face has a face mesh of its own that looks at a part of the picture about it: tracking is then as fast in a large picture as in a
small one, and small faces are seen. New faces are searched for a few times a second; one that is found is traced back through the
pictures since the last search, so that it begins where it came into sight. Landmarks are as the mesh gives them, since lips move;
squares are steadied over half a second. A picture without the face is a gap: the track goes on after it, for up to a second.

What this is not for: telling who somebody is (models/faces/identity.py), choosing who speaks (tasks/dubbing/cast.py).
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from models.faces import limits
from models.faces.crop import Square, face_square
from models.faces.detect import SceneFinder
from models.faces.eye import Eye, inside
from models.faces.identity import Likeness
from models.faces.shots import Marked, Picture, marked

SEARCH = 0.32  # seconds between searches for faces that nobody follows yet
MOST_KEPT = 8  # pictures between searches at the most: they are kept, to trace a face back
GAP = 1.0  # seconds without its face after which a track ends
SHORTEST = 0.4  # seconds: a shorter track is a false find, and too short to be worth new lips
UNDECIDED = 2.0  # seconds after which a track that is still shorter is given up: memory stays bounded
STEADY = 0.26  # seconds on each side that squares are averaged over: 13 pictures at 25 a second
AHEAD = 0.8  # seconds that results lag behind, so that whatever lies after a picture can tell on it
ASKED = 0.24  # seconds between looks for something that covers the mouth
MOST_FACES = 6  # faces followed at a time, of those found together the largest: a crowd has no lips to redraw
JUMP, DRIFT = 0.4, 1.0  # of its side that a face may move from one picture to the next, and in each second of a gap besides
SAME = 1 / 3  # middles nearer than this part of the smaller face's side: one face


@dataclass(eq=False)
class Sight:
    """One face in one picture: landmarks float32 [478, 2] in the original's pixels, yaw in degrees as read, its smoothed square."""

    lane: "Lane"
    time: float
    landmarks: np.ndarray
    yaw: float
    side: float
    cut: bool
    hidden: bool | None = None  # None where it was not asked
    square: Square | None = None
    passes: str = ""
    raw: Square = field(init=False)  # as this picture's landmarks alone give it

    def __post_init__(self) -> None:
        self.raw = face_square(self.landmarks)


@dataclass(eq=False)
class Lane:
    """One track while it is followed. number: as in the results, once it is known to be one."""

    shot: int
    eye: Eye | None
    sights: deque[Sight] = field(default_factory=deque)  # what smoothing and covers still need
    kept: bool = False
    closed: bool = False
    number: int = -1
    begun: float = 0.0
    last: Sight | None = None
    asked: float = -1e9
    before: str = ""
    likeness: Likeness = field(default_factory=Likeness)

    @property
    def dropped(self) -> bool:
        """Too short to be a face."""
        return self.closed and not self.kept


@dataclass(eq=False)
class Followed:
    """One picture's result: its number, time and shot, and the faces in it."""

    number: int
    time: float
    shot: int
    faces: list[Sight] = field(default_factory=list)


def followed(pictures: Iterable[Picture]) -> Iterator[Followed]:
    """Each picture's faces, in order, every picture once. Lags by about a second; what is held does not grow with length."""
    follower = Follower()
    try:
        for picture in marked(pictures):
            follower.step(picture)
            yield from follower.settled()
        follower.end()
        yield from follower.settled()
    finally:
        follower.close()


class Follower:
    """The state of `followed`: step by step in, settled pictures out."""

    def __init__(self) -> None:
        self.finder = SceneFinder()
        self.spare: list[Eye] = []
        self.lanes: list[Lane] = []
        self.waiting: deque[Followed] = deque()
        self.recent: deque[Marked] = deque(maxlen=MOST_KEPT)
        self.shot, self.searched, self.given, self.now = -1, -1e9, 0, 0.0

    def step(self, picture: Marked) -> None:
        """Look at the next picture."""
        self.now = picture.time
        if picture.cut:
            self._close(self.lanes)
            self.recent.clear()
            self.shot, self.searched = self.shot + 1, -1e9
        row = Followed(picture.number, picture.time, self.shot)
        self.waiting.append(row)
        self._look(picture, row)
        self._close([lane for lane in self.lanes if picture.time - lane.last.time > GAP])  # type: ignore[union-attr]
        self._close([lane for lane in self.lanes if not lane.kept and picture.time - lane.begun > UNDECIDED])
        if len(self.recent) == MOST_KEPT or picture.time - self.searched >= SEARCH - 1e-6:
            self._search(picture, row)
            self.recent.clear()
            self.searched = picture.time
        self.recent.append(picture)

    def end(self) -> None:
        """No picture comes any more."""
        self._close(self.lanes)
        self.now = np.inf

    def close(self) -> None:
        """Free the networks."""
        self.finder.close()
        for eye in [*self.spare, *(lane.eye for lane in self.lanes if lane.eye)]:
            eye.mesh.close()

    def settled(self) -> Iterator[Followed]:
        """Pictures whose faces are known for good."""
        while self.waiting and self._known(self.waiting[0]):
            row = self.waiting.popleft()
            row.faces = [sight for sight in row.faces if not sight.lane.dropped]
            for sight in row.faces:
                self._finish(sight)
            yield row

    def _known(self, row: Followed) -> bool:
        return row.time < self.now - AHEAD and all(s.lane.kept or s.lane.closed for s in row.faces)

    def _look(self, picture: Marked, row: Followed) -> None:
        for lane in self.lanes:
            assert lane.eye is not None
            marks = lane.eye.look(picture.picture)
            if marks is not None and not _fits(lane, marks / picture.zoom, picture.time):
                lane.eye.forget()
                marks = None
            if marks is not None and not self._taken(marks / picture.zoom, row):
                self._seen(lane, marks, picture, row)

    def _taken(self, landmarks: np.ndarray, row: Followed) -> bool:
        """Whether a face at these landmarks is followed in this picture already."""
        return any(not _apart(landmarks, sight.landmarks) for sight in row.faces)

    def _seen(self, lane: Lane, marks: np.ndarray, picture: Marked, row: Followed, *, earlier: bool = False) -> None:
        landmarks = (marks / picture.zoom).astype(np.float32)
        yaw, side = limits.yaw_of(landmarks), limits.side_of(landmarks)
        shape = tuple(round(v / picture.zoom) for v in picture.picture.shape[:2])
        sight = Sight(lane, picture.time, landmarks, yaw, side, limits.cut_off(landmarks, shape))
        row.faces.append(sight)
        if earlier:
            lane.sights.appendleft(sight)
            lane.begun = sight.time
            return
        if lane.last is None:
            lane.begun = sight.time
        lane.sights.append(sight)
        lane.last = sight
        lane.kept = lane.kept or sight.time - lane.begun >= SHORTEST - 1e-6
        if sight.time - lane.asked >= ASKED - 1e-6:
            sight.hidden = limits.mouth_hidden(picture.picture, marks, yaw)
            lane.asked = sight.time
            if not sight.hidden and not sight.cut:
                lane.likeness.add(picture.picture, marks, yaw)

    def _search(self, picture: Marked, row: Followed) -> None:
        """Follow the faces that a search finds and nobody follows; a lane in a gap takes its own back."""
        boxes = self.finder(picture.picture)
        for box in boxes[np.argsort(boxes[:, 0] - boxes[:, 2])]:
            if any(inside(sight.landmarks.mean(0) * picture.zoom, box) for sight in row.faces):
                continue
            eye = self._eye()
            marks = eye.begin(picture.picture, box[:4]) if eye else None
            if marks is None or self._taken(marks / picture.zoom, row):
                self.spare += [eye] if eye else []
                continue
            there = {sight.lane for sight in row.faces}
            lost = next((old for old in self.lanes if old not in there and _fits(old, marks / picture.zoom, picture.time)), None)
            lane = lost or Lane(self.shot, None)
            if lost and lost.eye:
                self.spare.append(lost.eye)
            lane.eye = eye
            if lost is None:
                self.lanes.append(lane)
            self._seen(lane, marks, picture, row)
            if lost is None:
                self._trace(lane, marks)

    def _trace(self, lane: Lane, marks: np.ndarray) -> None:
        """Follow a new face back through the pictures since the last search, by a network of its own."""
        if not self.recent:
            return
        eye = self.spare.pop() if self.spare else Eye()
        rows = {row.number: row for row in self.waiting}
        first = self.recent[-1]
        found = eye.begin(first.picture, np.concatenate([marks.min(0), marks.max(0)]))
        for picture in reversed(self.recent):
            if picture is not first:
                found = eye.look(picture.picture)
            row = rows[picture.number]
            if found is None or not _near(lane.sights[0], found / picture.zoom, picture.time) or self._taken(found / picture.zoom, row):
                break
            self._seen(lane, found, picture, row, earlier=True)
        self.spare.append(eye)

    def _eye(self) -> Eye | None:
        """An eye that follows nothing; None where as many faces are followed as may be."""
        if len(self.lanes) >= MOST_FACES:
            return None
        return self.spare.pop() if self.spare else Eye()

    def _close(self, lanes: list[Lane]) -> None:
        for lane in list(lanes):
            lane.closed = True
            if lane.eye:
                self.spare.append(lane.eye)
                lane.eye = None
            self.lanes.remove(lane)

    def _finish(self, sight: Sight) -> None:
        """A sight's square, why it is not redrawn, and its lane's number, from what lies about it."""
        lane = sight.lane
        if lane.number < 0:
            lane.number, self.given = self.given, self.given + 1
        while lane.sights and lane.sights[0].time < sight.time - AHEAD:
            lane.sights.popleft()
        sight.square, yaw, side = steadied(list(lane.sights), sight)
        sight.passes = lane.before = limits.beyond(yaw, side, sight.cut, hidden_near(list(lane.sights), sight), lane.before)


def steadied(sights: list[Sight], here: Sight) -> tuple[Square, float, float]:
    """Square, yaw and side of one of a lane's sights, averaged over STEADY seconds on each side, the lane's ends held."""
    near = [sight for sight in sights if abs(sight.time - here.time) <= STEADY]
    at = near.index(here)
    reach = max(at, len(near) - 1 - at)
    near = [near[0]] * (reach - at) + near + [near[-1]] * (reach - (len(near) - 1 - at))
    rows = [(s.raw.x, s.raw.y, s.raw.side, s.yaw, s.side) for s in near]
    x, y, around, yaw, side = (float(v) for v in np.mean(rows, axis=0))
    return Square(x, y, around), yaw, side


def hidden_near(sights: list[Sight], here: Sight) -> bool:
    """Whether the mouth is hidden at one of a lane's sights: the last or the next look said so, and a look beside that one too."""
    asked = [sight for sight in sights if sight.hidden is not None]
    told = [bool(sight.hidden) for sight in asked]
    sure = [t and (len(told) == 1 or any(told[max(0, i - 1) : i] + told[i + 1 : i + 2])) for i, t in enumerate(told)]
    next_one = next((i for i, sight in enumerate(asked) if sight.time >= here.time), len(asked))
    return any(sure[max(0, next_one - 1) : next_one + 1])


def _fits(lane: Lane, landmarks: np.ndarray, time: float) -> bool:
    """Whether these landmarks can be the lane's next."""
    assert lane.last is not None
    return _near(lane.last, landmarks, time)


def _near(last: Sight, landmarks: np.ndarray, time: float) -> bool:
    gone = abs(time - last.time)
    moved = float(np.hypot(*(landmarks.mean(0) - last.landmarks.mean(0)))) / last.side
    grown = limits.side_of(landmarks) / last.side
    return moved < JUMP + DRIFT * gone and 1 / 1.6 < grown < 1.6


def _apart(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether landmarks are of two faces."""
    return bool(np.hypot(*(one.mean(0) - other.mean(0))) > SAME * min(limits.side_of(one), limits.side_of(other)))
