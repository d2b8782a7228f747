"""Calibration of cameras, stereo pairs and whole rigs from pictures of boards."""
