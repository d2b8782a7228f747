"""Keypoints of animals from trackers: files read into one table, and the source that plays them on the bus."""
