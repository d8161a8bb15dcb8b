"""Messages to the operator about what is wrong: when, in which words, and to which addresses."""
