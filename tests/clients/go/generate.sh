# shellcheck shell=bash
# docs: begin
openapi-generator-cli generate -g go -i alpine.v1.json -o alpine --additional-properties=packageName=alpine,withGoMod=false \
  --additional-properties=enumClassPrefix=true,enumUnknownDefaultCase=true,disallowAdditionalPropertiesIfNotPresent=false
go build -o main .
# docs: end
