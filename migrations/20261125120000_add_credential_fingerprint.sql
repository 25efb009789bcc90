-- Of a deploy key: what its owner can tell it by.
ALTER TABLE stored_credentials ADD COLUMN fingerprint text;
GRANT SELECT (fingerprint), UPDATE (fingerprint) ON stored_credentials TO alpine_api;
