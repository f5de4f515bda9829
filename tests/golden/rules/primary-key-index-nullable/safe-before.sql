CREATE TABLE logs (id bigint NOT NULL, what text);
CREATE UNIQUE INDEX logs_id ON logs (id);
