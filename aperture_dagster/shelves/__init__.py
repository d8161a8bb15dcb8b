"""What each member finds on their lists, in words and in their language: pages, programs and letters show the same.

Lists are made ahead, and what their members may see can have changed since: all of it is asked again.
"""
