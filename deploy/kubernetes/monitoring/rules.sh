#!/usr/bin/env bash
# deploy/prometheus/rules/*.yml as a PrometheusRule, for the Prometheus Operator; to standard output.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../prometheus/rules"
printf 'apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: alpine\n  namespace: alpine\n  labels: {app.kubernetes.io/part-of: alpine}\nspec:\n  groups:\n'
for file in *.yml; do
  # Each is a file of `groups:` alone.
  sed -n '/^groups:/,$ { /^groups:/d; s/^/  /; p }' "$file"
done
