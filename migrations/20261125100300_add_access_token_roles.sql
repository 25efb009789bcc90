-- A token with the scope `admin` was made by an admin. Its hash finds it before its tenant is known.
ALTER TABLE access_tokens
    ADD COLUMN created_by_request text,
    ADD CONSTRAINT access_tokens_scopes CHECK (scopes <@ ARRAY['sessions:read', 'sessions:write', 'admin'] AND cardinality(scopes) > 0),
    ADD CONSTRAINT access_tokens_name CHECK (length(name) BETWEEN 1 AND 100);
-- Ids grow with time: newest first is their order.
CREATE INDEX access_tokens_own ON access_tokens (tenant_id, principal_id, token_id);

-- What was revoked stays so, whoever writes.
CREATE FUNCTION guard_access_tokens() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refuse('access_tokens_stay_revoked', 'a revoked token stays revoked');
    RETURN NULL;
END $$;
CREATE TRIGGER access_tokens_stay_revoked BEFORE UPDATE ON access_tokens FOR EACH ROW
    WHEN (OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at) EXECUTE FUNCTION guard_access_tokens();

-- Whose token this is, if it is good now; that it was used is noted once a minute at most.
CREATE FUNCTION use_access_token(hash bytea) RETURNS TABLE (
        tenant_id text, principal_id text, token_id uuid, scopes text[], expires_at timestamptz, expired boolean, revoked boolean)
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
#variable_conflict use_column
BEGIN
    UPDATE access_tokens t SET last_used_at = now()
    WHERE t.token_sha256 = hash AND t.revoked_at IS NULL AND t.expires_at > now()
      AND (t.last_used_at IS NULL OR t.last_used_at < now() - interval '1 minute');
    RETURN QUERY
        SELECT t.tenant_id, t.principal_id, t.token_id, t.scopes, t.expires_at, t.expires_at <= now(), t.revoked_at IS NOT NULL
        FROM access_tokens t WHERE t.token_sha256 = hash;
END $$;
