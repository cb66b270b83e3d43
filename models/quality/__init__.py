"""What is right or wrong with a redrawn face beside its sync: lips in silence and in speech, sharpness, flicker, seams, likeness.

`view.py` turns each picture's face upright, `watch.py` takes some numbers of each picture while a video is scored, `features.py` makes a
take's features of them: one number each, with formula, unit and range (`catalogue.py` lists them). Networks have no part in it. The gate weighs the features
(tasks/gate.py) against limits that good takes set (tasks/calibrate.py).
"""
