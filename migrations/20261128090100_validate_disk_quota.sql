-- Of rows that are there: in a transaction of its own, which holds up nobody.
ALTER TABLE tenants VALIDATE CONSTRAINT tenants_disk_quota;
