"""Parts of the benchmark of many households: their worlds, and a prototype of what they could share."""
