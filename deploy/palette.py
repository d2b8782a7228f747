"""One colour per class, the same in the terminal and on the page.

After Okabe and Ito's palette for all kinds of colour vision, lightened for a dark ground.
"""

CLASS_COLORS = (
    "#56b4e9", "#e69f00", "#3fc79a", "#e07bb0", "#f0e442", "#ef7b45", "#8f9bff", "#b3c1d1",
    "#7fd4e4", "#c9a227", "#86d96b", "#c98bdb",
)  # fmt: skip

PAPER_COLORS = (
    "#0072b2", "#d98200", "#009e73", "#c2569a", "#a89400", "#cf4a2b", "#5b5fc7", "#6b7886",
    "#2aa3b8", "#8c6d1f", "#5aa02c", "#8e4fa8",
)  # fmt: skip
"""The same hues, darkened for white paper."""


def class_color(place: int) -> str:
    """Colour of the class at ``place`` in the bundle's order; they repeat after twelve."""
    return CLASS_COLORS[place % len(CLASS_COLORS)]


def paper_color(place: int) -> str:
    """Likewise, on white paper."""
    return PAPER_COLORS[place % len(PAPER_COLORS)]
