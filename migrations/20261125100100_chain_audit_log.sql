-- The audit log takes more than deeds on sessions, and each entry carries the digest of the one before: whoever
-- changes or removes one breaks the chain of its tenant.
ALTER TABLE audit_log
    ALTER COLUMN session_id DROP NOT NULL,
    ALTER COLUMN owner DROP NOT NULL,
    -- The place in the tenant's chain, from 1, without a gap.
    ADD COLUMN seq bigint,
    -- An operator may be of another tenant than the one that the entry is about.
    ADD COLUMN actor_tenant text,
    ADD COLUMN outcome text NOT NULL DEFAULT 'done',
    ADD COLUMN target text,
    ADD COLUMN prev_hash bytea,
    ADD COLUMN hash bytea,
    ADD CONSTRAINT audit_log_outcome CHECK (outcome IN ('done', 'denied'));

-- The last entry of each chain. Its row serialises the entries of one tenant.
CREATE TABLE audit_heads (
    tenant_id text   NOT NULL,
    seq       bigint NOT NULL,
    hash      bytea  NOT NULL,
    CONSTRAINT audit_heads_pkey PRIMARY KEY (tenant_id)
);

CREATE FUNCTION audit_field(value text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN value IS NULL THEN '-' ELSE octet_length(value) || ':' || value END;

-- What is hashed: every field with its length before it, so that two never run together. The contract crate has
-- the same, and a test compares them.
CREATE FUNCTION audit_digest(entry audit_log) RETURNS bytea
    LANGUAGE sql IMMUTABLE
    RETURN sha256(convert_to(
        audit_field(entry.tenant_id) || audit_field(entry.seq::text)
        || audit_field((extract(epoch FROM entry.at) * 1000000)::bigint::text)
        || audit_field(entry.actor_tenant) || audit_field(entry.actor) || audit_field(entry.action) || audit_field(entry.outcome)
        || audit_field(entry.target) || audit_field(entry.owner) || audit_field(entry.reason) || audit_field(entry.request_id)
        || audit_field(encode(entry.prev_hash, 'hex')), 'UTF8'));

CREATE FUNCTION audit_log_chain() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    -- A server of the version before says neither.
    NEW.actor_tenant := coalesce(NEW.actor_tenant, NEW.tenant_id);
    NEW.target := coalesce(NEW.target, 'ses_' || replace(NEW.session_id::text, '-', ''));
    INSERT INTO audit_heads AS head (tenant_id, seq, hash) VALUES (NEW.tenant_id, 1, '')
        ON CONFLICT (tenant_id) DO UPDATE SET seq = head.seq + 1
        RETURNING head.seq, head.hash INTO NEW.seq, NEW.prev_hash;
    NEW.hash := audit_digest(NEW);
    UPDATE audit_heads SET hash = NEW.hash WHERE tenant_id = NEW.tenant_id;
    RETURN NEW;
END $$;

-- Entries from before there was a chain become its beginning.
ALTER TABLE audit_log DISABLE TRIGGER audit_log_append_only;
DO $$
DECLARE
    entry audit_log;
BEGIN
    FOR entry IN SELECT * FROM audit_log ORDER BY audit_id LOOP
        entry.actor_tenant := entry.tenant_id;
        entry.target := 'ses_' || replace(entry.session_id::text, '-', '');
        INSERT INTO audit_heads AS head (tenant_id, seq, hash) VALUES (entry.tenant_id, 1, '')
            ON CONFLICT (tenant_id) DO UPDATE SET seq = head.seq + 1
            RETURNING head.seq, head.hash INTO entry.seq, entry.prev_hash;
        entry.hash := audit_digest(entry);
        UPDATE audit_heads SET hash = entry.hash WHERE tenant_id = entry.tenant_id;
        UPDATE audit_log SET actor_tenant = entry.actor_tenant, target = entry.target, seq = entry.seq, prev_hash = entry.prev_hash, hash = entry.hash
        WHERE tenant_id = entry.tenant_id AND audit_id = entry.audit_id;
    END LOOP;
END $$;
ALTER TABLE audit_log ENABLE TRIGGER audit_log_append_only;
ALTER TABLE audit_log ADD CONSTRAINT audit_log_chained
    CHECK (seq IS NOT NULL AND actor_tenant IS NOT NULL AND prev_hash IS NOT NULL AND hash IS NOT NULL);
CREATE UNIQUE INDEX audit_log_seq ON audit_log (tenant_id, seq);

CREATE TRIGGER audit_log_chain BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION audit_log_chain();
