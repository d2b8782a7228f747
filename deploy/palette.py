"""One colour per class, the same in the terminal and on the page.

After Okabe and Ito's palette for all kinds of colour vision, lightened for a dark ground.
"""

CLASS_COLORS = (
    "#56b4e9", "#e69f00", "#3fc79a", "#e07bb0", "#f0e442", "#ef7b45", "#8f9bff", "#b3c1d1",
    "#7fd4e4", "#c9a227", "#86d96b", "#c98bdb",
)  # fmt: skip


def class_color(place: int) -> str:
    """Colour of the class at ``place`` in the bundle's order; they repeat after twelve."""
    return CLASS_COLORS[place % len(CLASS_COLORS)]
