-- A tenant is a team. It comes to be when a principal of it first asks for a session.
CREATE TABLE tenants (
    tenant_id  text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenants_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT tenants_id_form CHECK (length(tenant_id) BETWEEN 1 AND 255)
);
