#!/usr/bin/env python3
"""Makes dashboards/*.json of the panels in panels.py.

    build.py            write them
    build.py --check    fail if what is committed differs
    build.py --rules    every query as a rules file, for `promtool check rules`
"""

import json
import pathlib
import re
import sys

sys.dont_write_bytecode = True
from panels import DASHBOARDS  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
RUNBOOKS = HERE.parent.parent / "docs" / "runbooks"
PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}
GREEN, ORANGE, RED = "green", "orange", "red"
# Wide enough for a name, of 24 columns.
WIDTH = {"stat": 4, "timeseries": 12, "table": 24}
HEIGHT = {"stat": 4, "timeseries": 8, "table": 9}


def thresholds(steps):
    """`steps`: (value, colour) from the lowest; below them it is green, unless the first is None."""
    found = [{"color": GREEN, "value": None}] if not steps or steps[0][0] is not None else []
    return {"mode": "absolute", "steps": found + [{"color": colour, "value": value} for value, colour in steps]}


def panel(spec, number, x, y):
    kind = spec.get("kind", "timeseries")
    steps = spec.get("thresholds", [])
    custom = {}
    if kind == "timeseries":
        custom = {"lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": False}
        custom["stacking"] = {"mode": "normal" if spec.get("stack") else "none", "group": "A"}
        custom["thresholdsStyle"] = {"mode": "line" if steps else "off"}
    defaults = {"unit": spec["unit"], "custom": custom, "thresholds": thresholds(steps), "mappings": []}
    if "min" in spec:
        defaults["min"] = spec["min"]
    if "max" in spec:
        defaults["max"] = spec["max"]
    instant = kind != "timeseries"
    targets = [
        {"refId": chr(65 + i), "datasource": PROMETHEUS, "expr": expr, "legendFormat": legend, "instant": instant, "range": not instant}
        | ({"format": "table"} if kind == "table" else {})
        for i, (expr, legend) in enumerate(spec["queries"])
    ]
    options = {
        "stat": {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "value", "graphMode": "none"},
        "timeseries": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
        "table": {"showHeader": True},
    }[kind]
    links = [{"title": f"Runbook: {name}", "url": f"${{runbooks}}/{name}.md", "targetBlank": True} for name in spec.get("runbooks", [])]
    for name in spec.get("runbooks", []):
        assert (RUNBOOKS / f"{name}.md").is_file(), f"{spec['title']}: there is no runbook {name}"
    assert spec["unit"] and spec["description"], f"{spec['title']}: no unit, or no description"
    return {
        "id": number, "type": kind, "title": spec["title"], "description": spec["description"], "datasource": PROMETHEUS,
        "gridPos": {"x": x, "y": y, "w": WIDTH[kind], "h": HEIGHT[kind]},
        "fieldConfig": {"defaults": defaults, "overrides": []}, "options": options, "targets": targets, "links": links,
    }  # fmt: skip


def laid_out(specs):
    """Left to right, and down where the row is full or the kind changes."""
    panels, x, y, last = [], 0, 0, None
    for number, spec in enumerate(specs, 1):
        kind = spec.get("kind", "timeseries")
        if last and (x + WIDTH[kind] > 24 or kind != last):
            x, y = 0, y + HEIGHT[last]
        panels.append(panel(spec, number, x, y))
        x, last = x + WIDTH[kind], kind
    return panels


def variable(name, label):
    query = f"label_values(alpine_build_info, {name})"
    return {
        "name": name, "label": label, "type": "query", "datasource": PROMETHEUS, "query": {"query": query, "refId": name}, "definition": query,
        "refresh": 2, "multi": True, "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}, "sort": 1,
    }  # fmt: skip


def dashboard(spec):
    variables = [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1},
        variable("job", "Job"),
        variable("instance", "Server"),
        # Where the runbooks can be read: a URL of your copy of docs/runbooks.
        {"name": "runbooks", "label": "Runbooks", "type": "textbox", "query": "docs/runbooks", "current": {"text": "docs/runbooks", "value": "docs/runbooks"}},
    ]  # fmt: skip
    releases = {
        "name": "Releases", "enable": True, "iconColor": "blue", "datasource": PROMETHEUS,
        "expr": "count by (version) (alpine_build_info) unless count by (version) (alpine_build_info offset 5m)", "titleFormat": "{{version}}",
    }  # fmt: skip
    link = {"type": "dashboards", "tags": ["alpine"], "title": "Alpine", "asDropdown": True, "includeVars": True, "keepTime": True}
    return {
        "uid": f"alpine-{spec['name']}", "title": f"Alpine: {spec['name']}", "description": spec["description"], "tags": ["alpine"],
        "schemaVersion": 39, "version": 1, "editable": True, "graphTooltip": 1, "refresh": "30s", "timezone": "utc",
        "time": {"from": spec.get("from", "now-6h"), "to": "now"}, "templating": {"list": variables},
        "annotations": {"list": [releases]}, "links": [link], "panels": laid_out(spec["panels"]),
    }  # fmt: skip


def queries(made):
    for board in made.values():
        yield from (target["expr"] for part in board["panels"] for target in part["targets"])
        yield from (note["expr"] for note in board["annotations"]["list"])


def rules(made):
    """What Grafana puts in for its own variables stands here as one value of each."""
    lines = ["groups:", "  - name: dashboards", "    rules:"]
    for number, expr in enumerate(sorted(set(queries(made)))):
        plain = re.sub(r"\$__(rate_interval|range|interval)", "5m", expr)
        lines += [f"      - record: query{number}", f"        expr: {json.dumps(plain)}"]
    return "\n".join(lines)


def main():
    made = {HERE / "dashboards" / f"{spec['name']}.json": dashboard(spec) for spec in DASHBOARDS}
    if sys.argv[1:] == ["--rules"]:
        return print(rules(made))
    texts = {path: json.dumps(board, indent=1) + "\n" for path, board in made.items()}
    if sys.argv[1:] == ["--check"]:
        there = {path: path.read_text() for path in (HERE / "dashboards").glob("*.json")}
        if there != texts:
            differ = sorted(path.name for path in there.keys() | texts.keys() if there.get(path) != texts.get(path))
            sys.exit(f"not as deploy/grafana/build.py makes them: {', '.join(differ)}")
        return None
    for path, text in texts.items():
        path.write_text(text)
    return None


if __name__ == "__main__":
    main()
