DROP FUNCTION half(int);
