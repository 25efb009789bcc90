# shellcheck shell=bash
# docs: begin
openapi-python-client generate --path alpine.v1.json --meta none --output-path alpine --config config.yml --fail-on-warning
# docs: end
