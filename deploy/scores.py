"""Scores of a label stream against truth, from counts alone."""

from collections import Counter


class LabelScores:
    """A confusion matrix that grows by one pair at a time.

    The label "" (no behaviour named yet) is never right, and is not a class of its own: it lowers the recall of the
    class that was true, as a miss does.
    """

    def __init__(self) -> None:
        self._pairs: Counter[tuple[str, str]] = Counter()

    def add(self, truth: str, label: str) -> None:
        """Count one instant."""
        self._pairs[truth, label] += 1

    @property
    def n(self) -> int:
        """Instants counted."""
        return self._pairs.total()

    @property
    def accuracy(self) -> float | None:
        """Share of instants with the right label; None without any."""
        right = sum(n for (truth, label), n in self._pairs.items() if truth == label)
        return right / self.n if self.n else None

    @property
    def balanced_accuracy(self) -> float | None:
        """Mean recall over the classes that occur in truth; None without any."""
        truths = self._truths()
        return sum(self._pairs[name, name] / n for name, n in truths.items()) / len(truths) if truths else None

    @property
    def macro_f1(self) -> float | None:
        """Mean F1 over the classes that occur in truth or were named; None without any."""
        truths, labels = self._truths(), self._labels()
        classes = set(truths) | set(labels)
        if not classes:
            return None
        return sum(2 * self._pairs[name, name] / (truths[name] + labels[name]) for name in classes) / len(classes)

    def confusion(self) -> dict[str, dict[str, int]]:
        """Counts by truth, then by label."""
        table: dict[str, dict[str, int]] = {}
        for (truth, label), n in sorted(self._pairs.items()):
            table.setdefault(truth, {})[label] = n
        return table

    def _truths(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for (truth, _), n in self._pairs.items():
            counts[truth] += n
        return counts

    def _labels(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for (_, label), n in self._pairs.items():
            if label:
                counts[label] += n
        return counts
