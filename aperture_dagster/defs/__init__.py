"""What exists, one module or folder a group. Assets are thin: read, compute, write, report."""
