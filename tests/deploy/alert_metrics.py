#!/usr/bin/env python3
"""alert_metrics.py METRICS: every metric that an alert rule asks for is in the given output of /metrics, with the labels
and label values that the rule selects by (a rule on a metric that no server has never fires, and nobody notices)."""
import pathlib
import re
import sys

import yaml

RULES = pathlib.Path(__file__).resolve().parents[2] / "deploy/kubernetes/components/monitoring/alerts.yaml"
FROM_PROMETHEUS = {"up"}  # and the labels it adds to every series
ADDED_LABELS = {"namespace", "pod", "job", "instance", "container"}

series = {}
for line in pathlib.Path(sys.argv[1]).read_text().splitlines():
    match = re.match(r"(\w+)(?:\{(.*)\})? ", line)
    if match and not line.startswith("#"):
        labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
        series.setdefault(match[1], []).append(labels)

problems = []
for group in yaml.safe_load(RULES.read_text())["spec"]["groups"]:
    for rule in group["rules"]:
        for name, selector in re.findall(r"\b(up|(?:modelpress|grpc|process)_\w+)(?:\{([^}]*)\})?", rule["expr"]):
            if name in FROM_PROMETHEUS:
                continue
            if name not in series:
                problems.append(f"{rule['alert']}: no metric {name}")
                continue
            for label, operator, value in re.findall(r'(\w+)\s*(=~|=)\s*"([^"]*)"', selector or ""):
                if label in ADDED_LABELS:
                    continue
                have = {labels.get(label) for labels in series[name]}
                for wanted in value.split("|") if operator == "=~" else [value]:
                    if wanted not in have:
                        problems.append(f"{rule['alert']}: {name} has no {label}=\"{wanted}\" (but {sorted(map(str, have))})")
        for by in re.findall(r"by \(([^)]*)\)", rule["expr"]):
            for label in (label.strip() for label in by.split(",")):
                names = [name for name, _ in re.findall(r"\b((?:modelpress|grpc)_\w+)(\{)?", rule["expr"])]
                if label not in ADDED_LABELS and not any(
                        label in labels for name in names for labels in series.get(name, [])):
                    problems.append(f"{rule['alert']}: grouped by {label}, which no series of {names} has")
print("\n".join(problems) or f"all metrics of {RULES.name} are there")
sys.exit(bool(problems))
