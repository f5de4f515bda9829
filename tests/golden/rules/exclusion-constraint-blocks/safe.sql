CREATE TABLE bookings_2 (id bigint PRIMARY KEY, during tstzrange, EXCLUDE USING gist (during WITH &&));
