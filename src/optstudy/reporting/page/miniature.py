"""The miniature of a claim: its effect with its interval, in units of the margin, as a few lines of SVG."""

from __future__ import annotations

from markupsafe import Markup

WIDTH, HEIGHT = 180, 24
SHOWN = 4.0  # margins on each side of zero; an interval that reaches further ends in an arrow


def miniature(effect: float, low: float, high: float, margin: float, words: str) -> Markup:
    """Return the SVG; `words` say the same, for who cannot see it. Right of the middle is as claimed."""
    if margin <= 0:
        return Markup("")
    ends = [_x(value / margin) for value in (low, effect, high)]
    band = Markup('<rect class="band" x="{:.1f}" y="2" width="{:.1f}" height="20"/>').format(_x(-1), _x(1) - _x(-1))
    arrows = [
        Markup('<path d="M{0:.1f} 12l{1} -5v10z"/>').format(_x(side * 9), -6 * side)
        for side, beyond in ((-1, low < -SHOWN * margin), (1, high > SHOWN * margin))
        if beyond
    ]
    inside = abs(effect) <= SHOWN * margin
    mean = Markup('<path d="M{:.1f} 6l6 6l-6 6l-6 -6z"/>').format(ends[1]) if inside else Markup("")
    return Markup(
        '<svg class="mini" viewBox="0 0 {} {}" role="img" aria-label="{}"><title>{}</title>{}'
        '<path class="zero" d="M{:.1f} 0v24"/><path class="interval" d="M{:.1f} 12H{:.1f}"/>{}{}</svg>'
    ).format(WIDTH, HEIGHT, words, words, band, _x(0), ends[0], ends[2], mean, Markup("").join(arrows))


def _x(margins: float) -> float:
    """Return the place of an effect in margins."""
    clipped = min(max(margins, -SHOWN), SHOWN)
    return WIDTH / 2 + clipped * (WIDTH / 2 - 4) / SHOWN
