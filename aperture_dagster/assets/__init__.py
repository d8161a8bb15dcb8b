"""What exists, one module a group. Assets are thin: read, compute, write, report."""
