"""Gradient boosting over the features of one frame: what can be had without a network that learns what came before.

The features themselves may look back (means, speeds); the model does not. Histogram gradient boosting as scikit-learn
has it, after Ke et al., LightGBM, NeurIPS 2017.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from ...sync.errors import DataError

LEAST_STEP: Final = 3
"""Neighbouring frames are near copies: no more than one in so many is learnt from."""
MOST_PER_CLASS: Final = 8000
"""Of a class with more frames than this (in steps of `LEAST_STEP`) fewer are taken, and each counts for more."""


class GradientBoosting:
    """A fitted model.

    Args:
        n_classes: of the answers; a class that was not learnt has probability 0.
        seed: of which features a split may use.
        threads: of the fit and the answers.
    """

    def __init__(self, n_classes: int, seed: int = 0, threads: int = 1) -> None:
        self._n_classes, self._threads = n_classes, threads
        self._model = HistGradientBoostingClassifier(
            max_iter=120,
            learning_rate=0.08,
            max_leaf_nodes=12,
            min_samples_leaf=60,
            l2_regularization=5.0,
            max_features=0.25,
            early_stopping=False,  # pyright: ignore[reportArgumentType]  # its default is a word, a bool is allowed
            random_state=seed,
        )

    def fit(self, inputs: Sequence[NDArray[np.float32]], labels: Sequence[NDArray[np.integer]]) -> None:
        """Fit to whole recordings.

        Args:
            inputs: features [t, f] of each.
            labels: class of every frame [t], below 0 where there is none.

        Raises:
            DataError: fewer than two classes occur.
        """
        every = np.concatenate(list(labels))
        taken, weights = taken_frames(every)
        if len(np.unique(every[taken])) < 2:
            raise DataError("gradient boosting needs frames of two classes at least; label more, or leave it out")
        ends = np.cumsum([len(one) for one in labels])[:-1]
        of_each = [np.flatnonzero(one) for one in np.split(taken, ends)]
        x = np.concatenate([one[places] for one, places in zip(inputs, of_each, strict=True)])
        with threadpool_limits(self._threads, user_api="openmp"):
            self._model.fit(x, every[taken], sample_weight=weights)

    def answers(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities [t, c] of the frames of a recording, features [t, f]."""
        with threadpool_limits(self._threads, user_api="openmp"):
            found = self._model.predict_proba(x)
        p = np.zeros((len(x), self._n_classes), np.float32)
        p[:, np.asarray(self._model.classes_, np.int64)] = found
        return p


def taken_frames(labels: NDArray[np.integer]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which frames are learnt from, bool [t], and how much each of these counts, so that class shares stay, [n]."""
    taken = np.zeros(len(labels), np.bool_)
    weight = np.zeros(len(labels))
    for kind in np.unique(labels[labels >= 0]):
        places = np.flatnonzero(labels == kind)
        step = max(LEAST_STEP, -(-len(places) // MOST_PER_CLASS))
        taken[places[::step]] = True
        weight[places[::step]] = len(places) / len(places[::step])
    return taken, weight[taken]
