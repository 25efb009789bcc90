-- Of rows that are there: in a transaction of its own, which holds up nobody.
ALTER TABLE sessions VALIDATE CONSTRAINT sessions_idle;
