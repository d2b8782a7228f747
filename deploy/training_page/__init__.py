"""The page of a training: how good a model is, from the files of its run folder."""
