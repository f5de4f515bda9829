CREATE TABLE {{ .Name }} (id bigint PRIMARY KEY);
