"""Curves as inline SVG."""

import math

from stal.html_page import escape

_COLORS = ("#b30000", "#00559e", "#1a7a3a", "#7a3db8", "#a35a00", "#444444")
_DASHES = ("", "9 4", "3 3", "12 3 3 3", "1 4", "6 2 1 2")
_POINTS = 400  # of a curve; a log of a hundred thousand iterations holds more than a page needs


def line_chart(series, xlabel, ylabel, alt, percent=False):
    """Curves as inline SVG.

    Args:
        series: list of (name, [(x, y), ...]); what is not finite is left out, a curve without points too.
        percent: the y axis ends at 100.
    Returns:
        str; "" without a single point.
    """
    series = [(name, [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]) for name, points in series]
    series = [(name, points) for name, points in series if points]
    if not series:
        return ""
    xs, ys = ([point[axis] for _, points in series for point in points] for axis in (0, 1))
    xticks, yticks = _ticks(min(xs), max(xs)), _ticks(min(*ys, 80 if percent else 0), 100 if percent else max(ys))
    left, right, top, bottom = 52, 12, 10, 44
    width, height, line = 560, 330, 20
    legend = line * len(series) + 8
    x0, x1 = (min(xs), max(xs)) if min(xs) < max(xs) else (xs[0] - 1, xs[0] + 1)
    y0, y1 = yticks[0], max(yticks[-1], max(ys))
    y1 = y1 if y0 < y1 else y0 + 1

    def place(x, y):
        return (f"{left + (x - x0) / (x1 - x0) * (width - left - right):.1f}",
                f"{height - bottom - (y - y0) / (y1 - y0) * (height - top - bottom):.1f}")

    parts = [f'<svg viewBox="0 0 {width} {height + legend}" role="img" aria-label="{escape(alt)}" '
             'font-family="system-ui, sans-serif" font-size="14" fill="#1b1b1b">']
    for tick in (tick for tick in xticks if x0 <= tick <= x1):
        x, y = place(tick, y0)
        parts.append(f'<path d="M{x} {y}V{top}" stroke="#ddd"/><text x="{x}" y="{float(y) + 18:.1f}" '
                     f'text-anchor="middle">{tick:g}</text>')
    for tick in yticks:
        x, y = place(x0, tick)
        parts.append(f'<path d="M{x} {y}H{width - right}" stroke="#ddd"/><text x="{left - 6}" y="{float(y) + 5:.1f}" '
                     f'text-anchor="end">{tick:g}</text>')
    parts.append(f'<text x="{(left + width - right) / 2:g}" y="{height - 6}" text-anchor="middle">{escape(xlabel)}</text>'
                 f'<text x="14" y="{height / 2 - 15:g}" transform="rotate(-90 14 {height / 2 - 15:g})" '
                 f'text-anchor="middle">{escape(ylabel)}</text>')
    for index, (name, points) in enumerate(series):
        stroke = (f'stroke="{_COLORS[index % len(_COLORS)]}" stroke-width="2" '
                  f'stroke-dasharray="{_DASHES[index % len(_DASHES)]}"')
        points = _thinned(points)
        line_of = " ".join(",".join(place(x, y)) for x, y in points)
        parts.append(f'<polyline points="{line_of}" fill="none" stroke-linejoin="round" {stroke}/>')
        y = height + line * index + 12
        parts.append(f'<path d="M{left} {y}h40" {stroke}/><text x="{left + 48}" y="{y + 5}">{escape(name)}</text>')
    return "".join([*parts, "</svg>"])


def _ticks(low, high):
    """About five round numbers that cover low to high."""
    span = high - low or 1
    power = 10 ** math.floor(math.log10(span / 5))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= 5.5)
    return [step * number for number in range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)]


def _thinned(points):
    every = -(-len(points) // _POINTS)
    return points[::every] + points[-1:] * bool((len(points) - 1) % every)
