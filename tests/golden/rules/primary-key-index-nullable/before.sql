CREATE TABLE logs (id bigint, what text);
CREATE UNIQUE INDEX logs_id ON logs (id);
