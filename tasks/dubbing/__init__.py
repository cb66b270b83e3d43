"""Dubbing of existing video: who is seen (tracks), who speaks (cast), what becomes of each picture (spans), what faces are redrawn from
(references), the stages of a job (redub), and its score.
"""
