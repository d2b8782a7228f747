"""From probabilities that flicker to a label that holds: smoothing, a decider of one of four kinds, closing of gaps."""
