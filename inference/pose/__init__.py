"""Keypoints to behaviour: filling, features as causal steps over blocks of frames, and the models on top of them."""
