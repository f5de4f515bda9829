ALTER TYPE mood ADD VALUE 'calm' AFTER 'glad';
