"""The interactive picture of an exploration: one HTML file that needs nothing from elsewhere."""

from collections.abc import Callable, Sequence
from html import escape

import plotly.graph_objects as go

from evenstep.generate.options import generate_command
from evenstep_boards.explore.result import Exploration, Point

__all__ = ["draw_picture"]

#: What an axis can show: its title, the figure of a point, and the kind of axis.
_Axis = tuple[str, Callable[[Point], float], str]
_FRAMES: _Axis = ("Frames a second", lambda point: point.frames, "log")
_COSTS: Sequence[_Axis] = (
    ("LUTs", lambda point: point.luts, "log"),
    ("Memory, Kbit", lambda point: point.room.kbits, "log"),
    ("Accuracy, %", lambda point: 100 * (point.accuracy or 0.0), "linear"),
)
# Of people who see all colours and of those who do not (Okabe and Ito, "Color Universal Design", 2008).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
# A click keeps the command of an engine below the picture, where it can be copied.
_SCRIPT = """
const chosen = document.createElement("pre");
chosen.id = "command";
chosen.style = "font-size: 14px; white-space: pre-wrap; margin: 1em 4em; user-select: all";
chosen.textContent = "Click an engine: the command that generates it comes here.";
const plot = document.getElementById("{plot_id}");
plot.after(chosen);
plot.on("plotly_click", event => { chosen.textContent = event.points[0].customdata; });
"""


def draw_picture(found: Exploration, *, title: str) -> str:
    """HTML of the picture.

    Each network has a colour; engines on the front are large, the others small. Buttons choose what is shown across;
    names in the legend hide and show; engines show all their figures when pointed at, and the command that generates
    them below the picture when clicked.
    """
    axes = _COSTS if len({point.accuracy for point in found.points}) > 1 else _COSTS[:2]
    figure = go.Figure()
    shown: list[list[Point]] = []
    for number, network in enumerate(dict.fromkeys(point.network for point in found.points)):
        colour = _COLOURS[number % len(_COLOURS)]
        front = sorted((p for p in found.points[: found.front] if p.network == network), key=lambda p: p.frames)
        others = [point for point in found.points[found.front :] if point.network == network]
        for points, name in ((others, f"{network}, beaten by others"), (front, f"{network}, Pareto front")):
            if points:
                shown.append(points)
                figure.add_trace(_trace(points, name, colour, small=points is others))
    buttons = []
    for label, value, kind in axes:
        places = [[value(point) for point in points] for points in shown]
        changes = {"xaxis.title.text": label, "xaxis.type": kind, "xaxis.autorange": True}
        buttons.append({"label": label, "method": "update", "args": [{"x": places}, changes]})
    figure.update_layout(
        title=title,
        template="plotly_white",
        height=720,
        hoverlabel={"align": "left", "font": {"family": "monospace", "size": 12}},
        legend={"orientation": "h", "y": -0.12},
        updatemenus=[
            {"type": "buttons", "direction": "right", "x": 1, "xanchor": "right", "y": 1.08, "buttons": buttons}
        ],
    )
    figure.update_xaxes(title_text=axes[0][0], type=axes[0][2])
    figure.update_yaxes(title_text=_FRAMES[0], type=_FRAMES[2])
    return figure.to_html(include_plotlyjs=True, full_html=True, post_script=_SCRIPT, config={"displaylogo": False})


def _trace(points: Sequence[Point], name: str, colour: str, *, small: bool) -> go.Scatter:
    marker = {"color": colour, "size": 4, "opacity": 0.35} if small else {"color": colour, "size": 9}
    return go.Scatter(
        x=[_COSTS[0][1](point) for point in points],
        y=[_FRAMES[1](point) for point in points],
        mode="markers",
        marker=marker,
        name=name,
        customdata=[generate_command(point.geometry) for point in points],
        hovertext=[_hover(point) for point in points],
        hoverinfo="text",
    )


def _hover(point: Point) -> str:
    """Everything about an engine, in lines."""
    g, room = point.geometry, point.room
    lines = [
        f"<b>{escape(point.network)}</b>: {g.rows} x {g.columns} x {g.lanes} of {g.weight_bits} x {g.act_bits} bits",
        f"{point.frames:,.0f} frames a second at {point.clock:.1f} MHz, {point.cycles:,} cycles, "
        f"{point.useful:.0%} of lanes useful",
        f"{point.luts:,} LUTs ({point.method}), {room.blocks} block RAMs"
        + (f" and {room.sprams} SPRAMs" if room.sprams else "")
        + f", {room.kbits:,} Kbit",
    ]
    if point.accuracy is not None:
        lines.append(f"{point.accuracy:.2%} of pictures right")
    return "<br>".join([*lines, "", *_wrapped(generate_command(g))])


def _wrapped(command: str) -> list[str]:
    """A command in lines that a shell takes as one, each of a few options."""
    words = command.split(" --")
    options = [f"--{word}" for word in words[1:]]
    lines = [" ".join(options[start : start + 4]) for start in range(0, len(options), 4)]
    return [" \\<br>  ".join([words[0], *lines])]
