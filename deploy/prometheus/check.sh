#!/usr/bin/env bash
# Rules, their unit tests, runbooks and dashboards: what is wrong with them, without a server.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=deploy/lib.sh
. deploy/lib.sh

prometheus=deploy/prometheus
runbooks=docs/runbooks
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
faults=0
fault() {
  printf 'error: %s\n' "$*" >&2
  faults=$((faults + 1))
}

# promtool speaks at length of what is well; only of what is not should be heard.
quietly() { "$@" >"$work/said" 2>&1 || { cat "$work/said" >&2; fault "$*"; }; }

# Lines "alert key value" of the annotations and labels of every alert.
alerts() {
  awk '/^ +- (record|alert):/ { alert = $2 == "alert:" ? $3 : "" }
    alert != "" && /^ +labels:/ && match($0, /severity: [a-z]+/) { print alert, "severity", substr($0, RSTART + 10, RLENGTH - 10) }
    alert != "" && /^ +(summary|description|runbook_url|dashboard_url):/ { key = $1; sub(/:$/, "", key); print alert, key, $2 }
    alert != "" && /^ +- alert:/ { print alert, "alert", "-" }' "$prometheus"/rules/*.yml
}

# "alert fires" and "alert quiet", as often as the tests see it.
seen() {
  awk '/^ +alertname:/ { alert = $2 } /^ +exp_alerts: \[\]$/ { print alert, "quiet" } /^ +exp_alerts:$/ { print alert, "fires" }' "$prometheus"/tests/*.yml
}

check_alert() {
  local alert=$1 value key section page
  for key in severity summary description runbook_url dashboard_url; do
    value=$(awk -v a="$alert" -v k="$key" '$1 == a && $2 == k { print $3 }' "$work/alerts")
    [ -n "$value" ] || fault "$alert has no $key"
    case $key in
      severity) [[ $value =~ ^(warning|critical)$ ]] || fault "$alert: severity $value" ;;
      dashboard_url) [ -f "deploy/grafana/dashboards/${value#/d/alpine-}.json" ] || fault "$alert: there is no dashboard $value" ;;
    esac
  done
  page=$(awk -v a="$alert" '$1 == a && $2 == "runbook_url" { print $3 }' "$work/alerts")
  if [[ $page == "$runbooks"/*.md && -f $page ]]; then
    grep -q "^# .*\b$alert\b" "$page" || fault "$page: the title does not name $alert"
    for section in "What it means" "Impact" "Look here first" "Do this" "When it is over"; do
      # A section that says something.
      awk -v s="## $section" '$0 == s { inside = 1; next } /^## / { inside = 0 } inside && NF { found = 1 } END { exit !found }' "$page" ||
        fault "$page: nothing under \"$section\""
    done
  else
    fault "$alert: there is no runbook ${page:-at all}"
  fi
  for key in fires quiet; do
    grep -qx "$alert $key" "$work/seen" || fault "$alert: no test in which it ${key/quiet/keeps still}"
  done
}

# Queries that stand in the runbooks, as a rules file.
runbook_queries() {
  printf 'groups:\n  - name: runbooks\n    rules:\n'
  # shellcheck disable=SC2016
  grep -ohE '`[^`]*`' "$runbooks"/*.md | tr -d '`' | grep -E 'alpine_[a-z_]+|environment[a-z_]*:' | grep -vE '^SET |alpine_(api|worker)$' | sort -u |
    awk '{ gsub(/\\/, "\\\\"); gsub(/"/, "\\\""); printf "      - record: query%d\n        expr: \"%s\"\n", NR, $0 }'
}

step "What is needed"
ensure promtool venv

step "Rules and their tests"
quietly promtool check config --syntax-only "$prometheus/prometheus.yml"
quietly promtool check rules "$prometheus"/rules/*.yml
declare -A running
for test in "$prometheus"/tests/*.yml; do
  promtool test rules "$test" >"$work/$(basename "$test").said" 2>&1 &
  running[$test]=$!
done
for test in "${!running[@]}"; do
  wait "${running[$test]}" || { cat "$work/$(basename "$test").said" >&2; fault "$test"; }
done

step "Each alert has a runbook, and tests in which it fires and keeps still"
alerts >"$work/alerts"
seen >"$work/seen"
mapfile -t names < <(awk '$2 == "alert" { print $1 }' "$work/alerts")
[ ${#names[@]} -gt 0 ] || fault "there is no alert"
for alert in "${names[@]}"; do check_alert "$alert"; done
for page in "$runbooks"/*.md; do
  [ "$page" = "$runbooks/README.md" ] || grep -q " runbook_url $page\$" "$work/alerts" || fault "$page: no alert leads here"
done
runbook_queries >"$work/runbooks.yml"
quietly promtool check rules "$work/runbooks.yml"

step "Dashboards"
quietly python3 deploy/grafana/build.py --check
python3 deploy/grafana/build.py --rules >"$work/dashboards.yml"
quietly promtool check rules "$work/dashboards.yml"
say "${#names[@]} alerts, $(grep -c fires "$work/seen") times seen to fire, $(grep -c quiet "$work/seen") times to keep still; $(grep -c record "$work/dashboards.yml") queries of dashboards"

[ "$faults" = 0 ] || die "$faults faults in rules, runbooks or dashboards" "mend them, then: deploy/prometheus/check.sh"
all_done "Rules, runbooks, dashboards"
