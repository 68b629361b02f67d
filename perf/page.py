"""The report as one HTML page that needs nothing else: charts as inline SVG, light and dark by the reader's choice.

Each scenario is a card: one bar per server, its range over the rounds as a thin line, Strait's goal as a dashed one."""

import html
import math

from perf import report, summary

WIDTH = 460
LABEL_WIDTH = 132
VALUE_WIDTH = 92
BAR_HEIGHT = 16
BAR_STEP = 26
GOAL_ROOM = 18
# A peer that is further off than this many times the best would leave nothing to see of the others.
CLIP_TIMES = 3
OVERVIEW_WIDTH = 940
OVERVIEW_LABEL_WIDTH = 420
OVERVIEW_STEP = 22

STYLE = """
:root { color-scheme: light dark; --paper: #f6f7f9; --card: #ffffff; --ink: #1c2430; --soft: #5c6878; --line: #dde2e9;
  --ours: #0b7285; --theirs: #a9b4c2; --goal: #c2410c; --good: #15803d; --bad: #b42318; --good-bg: #e3f4e8; --bad-bg: #fdeae7; }
@media (prefers-color-scheme: dark) { :root { --paper: #11151b; --card: #1a2029; --ink: #e6ebf2; --soft: #94a1b3;
  --line: #2d3643; --ours: #3bc9db; --theirs: #566375; --goal: #fb923c; --good: #4ade80; --bad: #f87171; --good-bg: #15301f; --bad-bg: #3a1c1a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 18px; margin: 40px 0 4px; }
p { margin: 4px 0; } .soft { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 14px; margin: 22px 0; }
.tile, .card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px; }
.tile b { display: block; font-size: 26px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 440px), 1fr)); gap: 14px; margin-top: 12px; }
.card header { display: flex; align-items: baseline; gap: 8px; margin-bottom: 8px; }
.card header b { flex: 1; }
.badge { font-size: 12px; padding: 1px 8px; border-radius: 99px; white-space: nowrap; border: 1px solid var(--line); color: var(--soft); }
.badge.good { color: var(--good); background: var(--good-bg); border-color: transparent; }
.badge.bad { color: var(--bad); background: var(--bad-bg); border-color: transparent; }
svg { display: block; width: 100%; height: auto; } svg text { font: 12.5px system-ui, sans-serif; fill: var(--ink); }
svg .soft { fill: var(--soft); } svg .ours { fill: var(--ours); } svg .theirs { fill: var(--theirs); } svg .name-ours { font-weight: 600; }
svg .worse { fill: var(--bad); } svg .range { stroke: var(--ink); stroke-width: 1.2; opacity: .65; } svg .axis { stroke: var(--line); }
svg .goal { stroke: var(--goal); stroke-width: 1.5; stroke-dasharray: 4 3; } svg .goal-text { fill: var(--goal); font-size: 11px; }
svg .cut { fill: var(--card); } svg .failed { fill: var(--bad); } svg .number { font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13.5px; width: 100%; }
th, td { padding: 5px 10px; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { color: var(--soft); font-weight: 600; } th:first-child, td:first-child { text-align: left; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px; overflow-x: auto; font-size: 12.5px; }
ul { padding-left: 20px; } li { margin: 3px 0; } details { margin-top: 14px; } summary { cursor: pointer; font-weight: 600; }
"""


def as_html(document):
    rows = document["rows"]
    parts = [
        header(document),
        tiles(document),
        overview(document, rows),
        *(group_section(document, group, [row for row in rows if row["group"] == group]) for group in report.groups(rows)),
        doubts(document),
        figures_table(document),
        conditions(document),
        commands(document),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Strait beside its peers</title>'
        f"<style>{STYLE}</style></head>\n<body><main>\n{body}\n</main></body></html>\n"
    )


def header(document):
    paragraphs = report.introduction(document).replace("**", "").split("\n")
    return "<h1>Strait beside its peers</h1>\n" + "\n".join(f'<p class="soft">{text(line)}</p>' for line in paragraphs if line)


def tiles(document):
    rows = document["rows"]
    judged = [row for row in rows if row["goal_met"] is not None]
    ratios = [row["times_better"] for row in rows if row["times_better"]]
    entries = []
    if judged:
        entries.append((f"{sum(row['goal_met'] for row in judged)} of {len(judged)}", "goals reached"))
    if ratios:
        entries.append((f"{sum(ratio >= 1 for ratio in ratios)} of {len(ratios)}", "figures at or ahead of the best peer"))
        entries.append((f"{math.exp(sum(map(math.log, ratios)) / len(ratios)):.2f}×", "better than the best peer, geometric mean"))
    entries.append((f"{sum(run['reason'] is not None for run in document['runs'])} of {len(document['runs'])}", "runs failed"))
    return '<div class="tiles">' + "".join(f'<div class="tile"><b>{text(big)}</b>{text(small)}</div>' for big, small in entries) + "</div>"


def overview(document, rows):
    """All rows on one logarithmic scale: how many times better than the best peer, worse to the left of 1."""
    compared = [row for row in rows if row["times_better"]]
    if not compared:
        return ""
    ratios = [row["times_better"] for row in compared]
    low = math.floor(min(0.0, math.log2(min(ratios))))
    high = max(1, math.ceil(math.log2(max(ratios)) + 0.4))
    room = OVERVIEW_WIDTH - OVERVIEW_LABEL_WIDTH - 150

    def x(ratio):
        return OVERVIEW_LABEL_WIDTH + (math.log2(ratio) - low) / (high - low) * room

    height = len(compared) * OVERVIEW_STEP + 26
    step = max(1, (high - low) // 6)
    parts = []
    for power in range(low, high + 1, step):
        at = x(2.0**power)
        parts.append(f'<line class="axis" x1="{at:.1f}" y1="20" x2="{at:.1f}" y2="{height}"/>')
        parts.append(f'<text class="soft" x="{at:.1f}" y="13" text-anchor="middle">{2.0**power:g}×</text>')
    for place, row in enumerate(compared):
        top = 26 + place * OVERVIEW_STEP
        begin, end = sorted((x(1.0), x(row["times_better"])))
        middle = top + 11
        parts.append(f'<text x="{OVERVIEW_LABEL_WIDTH - 10}" y="{middle}" text-anchor="end">{text(overview_label(row))}</text>')
        parts.append(
            f'<rect class="{"ours" if row["times_better"] >= 1 else "worse"}" x="{begin:.1f}" y="{top}" '
            f'width="{max(end - begin, 1):.1f}" height="14" rx="2"/>'
        )
        peer = report.names(document)[row["best_peer"]]
        parts.append(
            f'<text class="number" x="{end + 6:.1f}" y="{middle}">{row["times_better"]:.2f}× '
            f'<tspan class="soft">{text(peer)}</tspan></text>'
        )
    return (
        "<h2>Times better than the best peer</h2>"
        '<p class="soft">Half the CPU, latency or memory is 2×, and so is twice the rate. Logarithmic.</p>'
        f'<div class="card">{svg(OVERVIEW_WIDTH, height, parts, "times better than the best peer, by scenario")}</div>'
    )


def overview_label(row):
    title = f"{row['group'].partition(' at ')[0]}, {row['title']}".replace(", window 100", "")
    return f"{title}, {row['metric_title'].partition(', ')[2]}" if row["metric"].startswith("p") else title


def group_section(document, group, rows):
    metrics = "; ".join(dict.fromkeys(f"{row['metric_title']}, {row['unit']}" for row in rows))
    better = "less is better" if rows[0]["lower_is_better"] else "more is better"
    cut = any(cell["max"] is not None and cell["max"] > scale_end(row) * 1.01 for row in rows for cell in row["cells"].values())
    gap = "; a bar with a gap is longer than shown" if cut else ""
    cards = "\n".join(card(document, row) for row in rows)
    return f'<h2>{text(group)}</h2><p class="soft">{text(metrics)} ({better}{gap})</p>\n<div class="cards">{cards}</div>'


def card(document, row):
    title = row["title"] + (row["metric_title"].removeprefix("latency") if row["metric"].startswith("p") else "")
    badges = []
    if row["times_better"]:
        badges.append(f'<span class="badge">{row["times_better"]:.2f}×</span>')
    if row["goal_met"] is not None:
        state = "good" if row["goal_met"] else "bad"
        badges.append(f'<span class="badge {state}">goal {report.verdict(row)}</span>')
    return f'<section class="card"><header><b>{text(title)}</b>{"".join(badges)}</header>{bars(document, row)}</section>'


def bars(document, row):
    top_value = scale_end(row)
    room = WIDTH - LABEL_WIDTH - VALUE_WIDTH
    height = len(row["cells"]) * BAR_STEP + (GOAL_ROOM if row["goal"] else 0)
    parts = []
    for place, (server, cell) in enumerate(row["cells"].items()):
        parts += bar(document, row, server, cell, place * BAR_STEP, room / top_value)
    if row["goal"]:
        at = LABEL_WIDTH + row["goal"] * room / top_value
        bottom = height - GOAL_ROOM + 2
        anchor = "end" if at > WIDTH * 0.75 else "start" if at < WIDTH * 0.4 else "middle"
        parts.append(f'<line class="goal" x1="{at:.1f}" y1="0" x2="{at:.1f}" y2="{bottom}"/>')
        parts.append(f'<text class="goal-text" x="{at:.1f}" y="{bottom + 12}" text-anchor="{anchor}">goal {text(report.goal_text(row))}</text>')
    return svg(WIDTH, height, parts, f"{row['title']}: {row['metric_title']} by server")


def scale_end(row):
    """The value at a chart's right edge: the largest, unless one is so far off that it must be cut."""
    values = [cell["max"] for cell in row["cells"].values() if cell["max"] is not None]
    near = [row["goal"], *(row["cells"].get(server, {}).get("max") for server in (summary.OURS, row["best_peer"]))]
    near = [value for value in near if value]
    return min(max(values, default=1), CLIP_TIMES * max(near, default=1)) if near else max(values, default=1) or 1


def bar(document, row, server, cell, top, scale):
    ours = server == summary.OURS
    middle = top + BAR_HEIGHT / 2
    name = report.names(document)[server]
    parts = [f'<text class="{"name-ours" if ours else ""}" x="{LABEL_WIDTH - 8}" y="{middle + 4}" text-anchor="end">{text(name)}</text>']
    if cell["median"] is None:
        reason = text("; ".join(cell["failures"]))
        return [*parts, f'<text class="failed" x="{LABEL_WIDTH}" y="{middle + 4}">failed<title>{reason}</title></text>']
    edge = WIDTH - VALUE_WIDTH
    low, high = (min(LABEL_WIDTH + cell[end] * scale, edge) for end in ("min", "max"))
    cut = LABEL_WIDTH + cell["median"] * scale > edge + 1
    width = min(max(cell["median"] * scale, 1.5), edge - LABEL_WIDTH)
    tip = f"{name}: {report.cell_text(row, cell)} {row['unit']}, {cell['rounds_good']} of {cell['rounds']} rounds"
    parts.append(
        f'<rect class="{"ours" if ours else "theirs"}" x="{LABEL_WIDTH}" y="{top}" width="{width:.1f}" height="{BAR_HEIGHT}" rx="2">'
        f"<title>{text(tip)}</title></rect>"
    )
    if cut:
        parts.append(f'<path class="cut" d="M{edge - 16} {top + BAR_HEIGHT + 2} l6 -{BAR_HEIGHT + 4} h5 l-6 {BAR_HEIGHT + 4} z"/>')
    elif high - low >= 1:
        parts.append(f'<line class="range" x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}"/>')
        parts += [f'<line class="range" x1="{at:.1f}" y1="{middle - 4}" x2="{at:.1f}" y2="{middle + 4}"/>' for at in (low, high)]
    marks = ("*" if cell["failures"] else "") + ("ᵍ" if cell["notes"] else "")
    at = (edge if cut else max(high, LABEL_WIDTH + width)) + 7
    parts.append(f'<text class="number" x="{at:.1f}" y="{middle + 4}">{report.number(row, cell["median"])} {text(row["unit"])}{marks}</text>')
    return parts


def svg(width, height, parts, label):
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{text(label)}">{"".join(parts)}</svg>'


def doubts(document):
    lines = [line[2:] for line in report.notes(document).split("\n") if line.startswith("- ")]
    if not lines:
        return ""
    return "<h2>Failures and doubts</h2><ul>" + "".join(f"<li>{text(line)}</li>" for line in lines) + "</ul>"


def figures_table(document):
    """What stood beside the figure of each cell, for those who want to check it."""
    head = ["scenario", "server", "figure", "lowest – highest", "M msg/s", "server busy", "generator busy", "rounds"]
    lines = []
    for row in document["rows"]:
        for server, cell in row["cells"].items():
            figure = "failed" if cell["median"] is None else f"{report.number(row, cell['median'])} {row['unit']}"
            spread = "–" if cell["median"] is None else f"{report.number(row, cell['min'])} – {report.number(row, cell['max'])}"
            beside = cell["beside"]
            rate = "–" if beside["rate"] is None else f"{beside['rate'] / 1e6:.3f}"
            busy = ["–" if beside[name] is None else f"{beside[name] * 100:.0f} %" for name in ("server_busy", "generator_busy")]
            rounds = f"{cell['rounds_good']} of {cell['rounds']}"
            lines.append([row["scenario"], report.names(document)[server], figure, spread, rate, *busy, rounds])
    return f"<details><summary>All figures</summary>{html_table(head, lines)}</details>"


def conditions(document):
    head = ["round", "runs", "load average at its start", "steal, mean / worst", "CPU of others, mean / worst"]
    lines = [
        [entry["round"], entry["runs"], f"{entry['load_average_at_start']:.2f}", *(report.shares_text(entry[name]) for name in ("steal", "other_cpu"))]
        for entry in document["rounds"]
    ]
    return f"<h2>The machine meanwhile</h2>{html_table(head, lines)}"


def html_table(head, lines):
    top = "".join(f"<th>{text(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in line) + "</tr>" for line in lines)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def commands(document):
    parts = [f"<pre>{text(document['settings']['command'])}</pre>"]
    for server in document["servers"]:
        if server["command"]:
            parts.append(f"<p>{text(server['title'])}</p><pre>{text(server['command'])}\n\n{text(server['config'].rstrip())}</pre>")
    runs = [scenario["command"] for scenario in document["scenarios"] if scenario["command"]]
    parts.append(f"<p>One run of each scenario, on Strait</p><pre>{text(chr(10).join(runs))}</pre>" if runs else "")
    return f"<details><summary>Commands and configurations</summary>{''.join(parts)}</details>"


def text(value):
    return html.escape(str(value))
