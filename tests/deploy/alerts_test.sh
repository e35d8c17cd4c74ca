#!/usr/bin/env bash
# The alert rules: they parse, they fire when they should and not before (alerts_test.yaml).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -c 'import sys, yaml; yaml.safe_dump(yaml.safe_load(open(sys.argv[1]))["spec"], open(sys.argv[2], "w"))' \
  "$here/../../deploy/kubernetes/components/monitoring/alerts.yaml" "$work/alerts.yaml"
cp "$here/alerts_test.yaml" "$work/"
cd "$work"
promtool check rules --lint=all --lint-fatal alerts.yaml
promtool test rules alerts_test.yaml
