"""Measures how far estimates are off, for all knowledge bases and for one; see docs/calibration.md.

`fitting` corrects estimates, from questions that `asking` asks; `run` is what `kfbot calibrate`
does.
"""
