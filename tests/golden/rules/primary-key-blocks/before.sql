CREATE TABLE logs (id bigint NOT NULL, what text);
