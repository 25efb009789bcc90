-- Roles are of the cluster, so another database of it may have made them already, even at this moment.
-- alpine_api: requests, one tenant at a time. alpine_worker: operations of every tenant. alpine_definer: owns the
-- few functions that look across tenants for the API. Who migrates owns everything else and is none of these.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['alpine_api', 'alpine_worker', 'alpine_definer'] LOOP
        -- Where they were made beforehand, whoever migrates need not be able to.
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;
            END;
        END IF;
        -- So that a server that logs in as the owner can become what it needs to be, and give functions away. From
        -- PostgreSQL 16 on whoever makes a role is a member of it, and still may not become it.
        IF NOT pg_has_role(current_user, name, CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END) THEN
            EXECUTE format('GRANT %I TO CURRENT_USER', name);
        END IF;
    END LOOP;
END $$;
