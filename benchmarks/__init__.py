"""What each stage costs, against a named alternative and against the least that it could cost."""
