CREATE TABLE parent (id bigint);
CREATE TABLE child (id bigint);
