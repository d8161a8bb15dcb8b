"""A letter a week for members who want one: what is recommended, what is new, and one suggestion."""
