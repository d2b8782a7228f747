"""From probabilities that flicker to a label that holds: smoothing, a decider of one of five kinds, closing of gaps."""
