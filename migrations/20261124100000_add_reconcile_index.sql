-- The reconciler goes through the ready sessions page by page.
CREATE INDEX sessions_ready ON sessions (tenant_id, session_id) WHERE state = 'ready';
