CREATE TABLE public.cities (name text PRIMARY KEY);
