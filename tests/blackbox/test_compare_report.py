"""The arithmetic and the reports of scripts/compare, without a server."""

import sys

import pytest

import gateway

sys.path.insert(0, str(gateway.ROOT))

from perf import flame, page, report, scenarios, summary

FIRST = scenarios.select(["nats-1to1-16"])[0]
LATENCY = scenarios.select(["latency-nats"])[0]
WILDCARDS = scenarios.select(["wildcards-nats"])[0]


def run(scenario, server, figures, number=1, reason=None, notes=()):
    return {
        "round": number,
        "scenario": scenario.id,
        "server": server,
        "reason": reason,
        "figures": figures,
        "notes": list(notes),
        "others": {"steal": 0.01 * number, "other_cpu": 0.1},
        "command": "",
    }


def only_row(scenario, runs, servers=("strait", "a", "b")):
    return summary.rows([scenario], servers, runs)[0]


def test_a_cell_is_the_median_and_the_range_of_its_good_rounds():
    runs = [run(FIRST, "strait", {"cpu_us": value}, number) for number, value in enumerate((0.05, 0.09, 0.06), 1)]
    runs.append(run(FIRST, "strait", {"cpu_us": 0.001}, 4, reason="3 lost"))
    cell = only_row(FIRST, runs)["cells"]["strait"]
    assert (cell["median"], cell["min"], cell["max"]) == (0.06, 0.05, 0.09)
    assert (cell["rounds"], cell["rounds_good"], cell["failures"]) == (4, 3, ["3 lost"])


def test_the_best_peer_is_the_cheapest_and_never_ourselves():
    figures = {"strait": 0.05, "a": 0.4, "b": 0.2}
    row = only_row(FIRST, [run(FIRST, server, {"cpu_us": value}) for server, value in figures.items()])
    assert (row["best_peer"], row["times_better"], row["goal_met"]) == ("b", pytest.approx(4.0), True)


def test_of_rates_the_highest_is_best():
    figures = {"strait": 2e6, "a": 0.5e6, "b": 1e6}
    row = only_row(WILDCARDS, [run(WILDCARDS, server, {"rate": value}) for server, value in figures.items()])
    assert (row["best_peer"], row["times_better"], row["goal_met"]) == ("b", pytest.approx(2.0), False)


def test_a_latency_goal_is_the_best_peer_of_the_same_run():
    figures = {"strait": 80, "a": 90, "b": 80}
    row = only_row(LATENCY, [run(LATENCY, server, {"p50_us": value, "p99_us": 1}) for server, value in figures.items()])
    assert (row["goal"], row["goal_met"]) == (80, True)


def test_without_a_peer_there_is_no_ratio_and_without_us_no_verdict():
    alone = only_row(LATENCY, [run(LATENCY, "strait", {"p50_us": 80, "p99_us": 90})])
    assert (alone["best_peer"], alone["times_better"], alone["goal"], alone["goal_met"]) == (None, None, None, None)
    theirs = only_row(FIRST, [run(FIRST, "a", {"cpu_us": 1})])
    assert (theirs["times_better"], theirs["goal_met"]) == (None, None)


def test_each_round_says_how_much_others_took():
    runs = [run(FIRST, "strait", {"cpu_us": 1}, number) for number in (1, 2)]
    first, second = summary.rounds(runs, {1: 0.5, 2: 1.5})
    assert (first["load_average_at_start"], second["steal"]["max"]) == (0.5, 0.02)


def test_every_id_is_used_once_and_each_metric_is_known():
    table = scenarios.table()
    assert len({each.id for each in table}) == len(table)
    assert all(set(each.goals) <= set(scenarios.METRICS) for each in table)


def test_a_whole_id_selects_one_scenario_and_a_part_many():
    assert [each.id for each in scenarios.select(["nats-1to1-16"])] == ["nats-1to1-16"]
    assert {each.id for each in scenarios.select(["wildcards"])} == {"wildcards-nats", "wildcards-mqtt"}
    assert {each.id for each in scenarios.select(["mqtt-1to?-16"])} == {"mqtt-1to1-16", "mqtt-1to8-16"}


def document(rows):
    server = {"name": "x", "version": "1", "absent": None, "command": "x --config DIR/c", "config": "a = 1\n"}
    return {
        "date": "2026-01-01T00:00:00+00:00",
        "interrupted": False,
        "machine": {"cpu": "CPU", "cores": 2, "memory_gib": 1.0, "kernel": "Linux", "system": "S", "hypervisor": True},
        "settings": {"command": "c", "rounds": 1, "seconds": 1.0, "server_core": 0, "generator_core": 1},
        "generator": {"version": "loadgen 1"},
        "servers": [{**server, "id": id, "title": f"<{id}|1>"} for id in ("strait", "a", "b")],
        "scenarios": [],
        "rounds": [],
        "rows": rows,
        "runs": [],
    }


def test_markdown_and_page_escape_what_servers_are_called_and_say():
    runs = [run(FIRST, "strait", {"cpu_us": 0.07}), run(FIRST, "a", {}, reason="<script>alert(1)</script>")]
    made = document(summary.rows([FIRST], ["strait", "a", "b"], runs))
    assert "<a\\|1>" in report.as_markdown(made)
    assert "<script>" not in page.as_html(made) and "&lt;script&gt;" in page.as_html(made)


def test_a_bar_far_beyond_the_best_is_cut_and_the_page_says_so():
    figures = {"strait": 0.07, "a": 0.3, "b": 12.0}
    rows = summary.rows([FIRST], figures, [run(FIRST, server, {"cpu_us": value}) for server, value in figures.items()])
    assert page.as_html(document(rows)).count('class="cut"') == 1
    assert "a bar with a gap is longer than shown" in page.as_html(document(rows))


PERF_SCRIPT = """\
strait-0 12.5:
\tffff1 read_it+0x10 (kernel)
\t55d0 strait::shard::take::h0123456789abcdef+0x1 (/bin/strait)

strait-0 12.6:
\t55d0 strait::shard::take::h0123456789abcdef+0x2 (/bin/strait)
"""


def test_stacks_fold_from_the_outermost_function_inwards():
    assert flame.fold(PERF_SCRIPT) == {("strait::shard::take", "read_it"): 1, ("strait::shard::take",): 1}


def test_a_flame_is_as_wide_as_its_share_and_the_list_tells_own_from_whole():
    stacks = flame.fold(PERF_SCRIPT)
    drawn = flame.svg(stacks, "a <title>", "about")
    assert 'data-w="700.000" data-d="2" data-n="read_it"' in drawn and "a &lt;title&gt;" in drawn
    assert "50.00 %      100.00 %  strait::shard::take" in flame.top(stacks)
