SET lock_timeout = '2s';
CREATE TABLE child_2 () INHERITS (parent);
