REASSIGN OWNED BY old_owner TO new_owner;
