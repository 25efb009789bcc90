# shellcheck shell=bash
# docs: begin
openapi-generator-cli generate -g rust -i alpine.v1.json -o alpine_client \
  --additional-properties=packageName=alpine_client,packageVersion=0.0.0,reqwestDefaultFeatures=
cargo build --locked
# docs: end
