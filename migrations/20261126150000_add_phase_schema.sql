-- Which set of phases an operation has gone through: a worker that does not know it leaves the operation to one that does. A
-- constant default is kept in the catalogue: no row is written. Servers that do not know of it write set 1.
ALTER TABLE operations ADD COLUMN phase_schema smallint NOT NULL DEFAULT 1;
