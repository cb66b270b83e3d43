"""What the gate stands on: a take against its source, limits of features and their calibration, and made-up takes to measure it with.

The decision itself is tasks/gate.py, the numbers that it weighs are models/quality's.
"""
