"""Models online: bundle, crop, embed, head step, fusion, stabiliser, rules, actuators."""
