"""From runs to rows: median and range of each server in each scenario, the best peer, and whether Strait's goal is
met. Pure: dictionaries in, dictionaries out, as they stand in the JSON report."""

import statistics

from perf.scenarios import BEST, METRICS

OURS = "strait"


def rows(scenarios, servers, runs):
    """One row for each scenario and each metric that it is about, in the order given. `servers` are their ids."""
    return [
        row(scenario, metric_id, goal, servers, [run for run in runs if run["scenario"] == scenario.id])
        for scenario in scenarios
        for metric_id, goal in scenario.goals.items()
    ]


def row(scenario, metric_id, goal, servers, runs):
    metric = METRICS[metric_id]
    cells = {}
    for server in servers:
        own = [run for run in runs if run["server"] == server]
        if own:
            cells[server] = cell(metric, own)
    ours = cells.get(OURS, {}).get("median")
    best = best_peer(metric, cells)
    target = cells[best]["median"] if goal == BEST and best else goal
    target = None if target == BEST else target
    return {
        "scenario": scenario.id,
        "group": scenario.group,
        "title": scenario.title,
        "metric": metric_id,
        "metric_title": metric.title,
        "unit": metric.unit,
        "digits": metric.digits,
        "lower_is_better": metric.lower_is_better,
        "cells": cells,
        "best_peer": best,
        "times_better": times_better(metric, ours, cells[best]["median"]) if best else None,
        "goal": target,
        "goal_is_best_peer": goal == BEST,
        "goal_met": met(metric, ours, target),
    }


def cell(metric, runs):
    """A server's figures over the rounds. Rounds that failed give no figure, but their reason stays."""
    good = [run for run in runs if run["reason"] is None and metric.id in run["figures"]]
    values = [run["figures"][metric.id] * metric.factor for run in good]
    return {
        "median": statistics.median(values) if values else None,
        "min": min(values, default=None),
        "max": max(values, default=None),
        "rounds": len(runs),
        "rounds_good": len(values),
        "failures": unique(run["reason"] for run in runs if run["reason"] is not None),
        "notes": unique(note for run in good for note in run["notes"]),
        "beside": {name: median_of(good, name) for name in ("rate", "server_busy", "generator_busy", "p50_us", "p99_us")},
    }


def best_peer(metric, cells):
    """The id of the peer with the best median; None when no peer has one."""
    medians = {server: each["median"] for server, each in cells.items() if server != OURS}
    medians = {server: median for server, median in medians.items() if median is not None}
    if not medians:
        return None
    return (min if metric.lower_is_better else max)(medians, key=medians.get)


def times_better(metric, ours, theirs):
    """2.0: half their CPU, latency or memory, or twice their rate."""
    if not ours or not theirs:
        return None
    return theirs / ours if metric.lower_is_better else ours / theirs


def met(metric, ours, goal):
    if ours is None or goal is None:
        return None
    return ours <= goal if metric.lower_is_better else ours >= goal


def median_of(runs, name):
    values = [run["figures"][name] for run in runs if name in run["figures"]]
    return statistics.median(values) if values else None


def rounds(runs, load_averages):
    """How much of the two cores went to others, for each round: the mean and the worst of its runs."""
    result = []
    for number, load_average in load_averages.items():
        own = [run for run in runs if run["round"] == number]
        entry = {"round": number, "runs": len(own), "load_average_at_start": load_average}
        for name in ("steal", "other_cpu"):
            shares = [run["others"][name] for run in own if name in run["others"]]
            entry[name] = {"mean": statistics.fmean(shares), "max": max(shares)} if shares else None
        result.append(entry)
    return result


def unique(items):
    return list(dict.fromkeys(items))
