SET lock_timeout = '2s';
ALTER DOMAIN email ADD CONSTRAINT email_at CHECK (VALUE ~ '@');
