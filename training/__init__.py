"""The offline half: labelled video in, scored and exported bundle out. The only layer that imports torch."""
