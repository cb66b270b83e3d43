"""Faces in pictures: detection, landmarks, head pose, and the crop rule that every network shares."""
