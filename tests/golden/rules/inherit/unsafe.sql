SET lock_timeout = '2s';
ALTER TABLE child INHERIT parent;
