#!/usr/bin/env bash
# deploy/prometheus/rules/*.yml as a PrometheusRule, for the Prometheus Operator; to standard output.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../prometheus/rules"
cat <<'END'
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: alpine
  namespace: alpine
  labels: {app.kubernetes.io/part-of: alpine}
spec:
  groups:
END
for file in *.yml; do
  # Each is a file of `groups:` alone.
  sed -n '/^groups:/,$ { /^groups:/d; s/^/  /; p }' "$file"
done
