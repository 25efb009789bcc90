# shellcheck shell=bash
# docs: begin
npx openapi-typescript alpine.v1.json -o alpine.ts
npx tsc
# docs: end
