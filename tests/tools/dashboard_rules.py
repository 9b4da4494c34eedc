#!/usr/bin/env python3
"""Prints the expressions of Grafana dashboards as a rules file, so that promtool can read them.

Usage: dashboard_rules.py DASHBOARD.json...
"""

import json
import sys
from pathlib import Path

# What Grafana puts in their place does not matter to the grammar.
VARIABLES = {"$__rate_interval": "1m", "$__range": "1h"}


def expressions(dashboard: dict) -> list[str]:
    targets = [t for panel in dashboard["panels"] for t in panel.get("targets", [])]
    return [target["expr"] for target in targets]


def main() -> None:
    rules = []
    for name in sys.argv[1:]:
        for expression in expressions(json.loads(Path(name).read_text())):
            for variable, value in VARIABLES.items():
                expression = expression.replace(variable, value)
            rules.append({"record": f"dashboard:{len(rules)}", "expr": expression})
    # JSON is YAML.
    print(json.dumps({"groups": [{"name": "dashboards", "rules": rules}]}))


if __name__ == "__main__":
    main()
