"""The report as JSON and Markdown: what was measured, on what, and what went wrong. The HTML page is page's."""

import json

SCHEMA = 1


def as_json(document):
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def as_markdown(document):
    parts = [
        "# Strait beside its peers",
        introduction(document),
        *(group_table(document, group) for group in groups(document["rows"])),
        notes(document),
        conditions(document),
        commands(document),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def groups(rows):
    return list(dict.fromkeys(row["group"] for row in rows))


def names(document):
    """Server id to the name that a table shows."""
    return {server["id"]: server["title"] for server in document["servers"]}


def introduction(document):
    machine, settings = document["machine"], document["settings"]
    lines = [
        f"{document['date']} · {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB"
        f"{', virtual machine' if machine['hypervisor'] else ''} · {machine['kernel']}, {machine['system']}",
        "",
        f"Rounds: {settings['rounds']}, in alternation over the servers; {settings['seconds']:g} s measured each. Server on core "
        f"{settings['server_core']}, generator on core {settings['generator_core']}. Cells: median (lowest – highest).",
        f"Servers: {', '.join(title_with_state(server) for server in document['servers'])}.",
        f"Generator: {document['generator']['version']}.",
    ]
    if document["interrupted"]:
        lines.append("**Interrupted: some rounds are missing.**")
    return "\n".join(lines)


def title_with_state(server):
    return f"{server['title']} (not measured: {server['absent']})" if server["absent"] else server["title"]


def group_table(document, group):
    rows = [row for row in document["rows"] if row["group"] == group]
    shown = [server for server in names(document) if any(server in row["cells"] for row in rows)]
    units = list(dict.fromkeys(f"{row['metric_title']}, {row['unit']}" for row in rows))
    several = len(units) > 1
    head = ["scenario", *(names(document)[server] for server in shown), "best peer ÷ Strait", "goal", ""]
    if not rows[0]["lower_is_better"]:
        head[-3] = "Strait ÷ best peer"
    lines = [f"## {group}", "", "; ".join(units), "", table_line(head), table_line(["---", *["---:"] * (len(head) - 2), "---"])]
    for row in rows:
        title = f"{row['title']}: {row['metric_title']}" if several else row["title"]
        cells = [cell_text(row, row["cells"].get(server)) for server in shown]
        lines.append(table_line([title, *cells, ratio_text(row), goal_text(row), verdict(row)]))
    return "\n".join(lines)


def table_line(cells):
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def cell_text(row, cell):
    if cell is None:
        return "–"
    if cell["median"] is None:
        return "failed"
    text = number(row, cell["median"])
    if cell["rounds_good"] > 1:
        text += f" ({number(row, cell['min'])} – {number(row, cell['max'])})"
    return text + ("*" if cell["failures"] else "") + ("ᵍ" if cell["notes"] else "")


def number(row, value):
    return f"{value:,.{row['digits']}f}"


def ratio_text(row):
    return "–" if row["times_better"] is None else f"{row['times_better']:.2f}"


def goal_text(row):
    if row["goal"] is None:
        return "best peer" if row["goal_is_best_peer"] else "–"
    sign = "≤" if row["lower_is_better"] else "≥"
    return f"{sign} {row['goal']:,.{row['digits']}f}" if row["goal_is_best_peer"] else f"{sign} {row['goal']:g}"


def verdict(row):
    return {True: "reached", False: "missed", None: ""}[row["goal_met"]]


def notes(document):
    """Every failure and every doubt, by scenario and server: no silent gap."""
    lines = []
    for row in document["rows"]:
        for server, cell in row["cells"].items():
            who = f"{row['scenario']}, {names(document)[server]}"
            bad = cell["rounds"] - cell["rounds_good"]
            lines += [f"- {who}: {bad} of {cell['rounds']} rounds failed: {reason}" for reason in cell["failures"]]
            lines += [f"- {who}: {note} (ᵍ)" for note in cell["notes"]]
    lines = list(dict.fromkeys(lines))
    return "\n".join(["## Failures and doubts", "", *lines]) if lines else ""


def conditions(document):
    head = ["round", "runs", "load average at its start", "steal, mean / worst", "CPU of others, mean / worst"]
    lines = ["## The machine meanwhile", "", table_line(head), table_line(["---:"] * len(head))]
    for entry in document["rounds"]:
        cells = [entry["round"], entry["runs"], f"{entry['load_average_at_start']:.2f}"]
        lines.append(table_line([*cells, *(shares_text(entry[name]) for name in ("steal", "other_cpu"))]))
    return "\n".join(lines)


def shares_text(shares):
    return "–" if shares is None else f"{shares['mean'] * 100:.1f} % / {shares['max'] * 100:.1f} %"


def commands(document):
    lines = ["## Commands", "", f"    {document['settings']['command']}", ""]
    for server in document["servers"]:
        if server["command"]:
            lines += [f"{server['title']}:", "", f"    {server['command']}", "", *(f"    # {line}" for line in server["config"].splitlines()), ""]
    lines += ["One run of each scenario, on Strait:" if document["scenarios"] else "", ""]
    lines += [f"    {scenario['command']}" for scenario in document["scenarios"] if scenario["command"]]
    return "\n".join(lines).rstrip()
