"""Trakt: users' ratings and recommendations in ``client``, devices and tokens in ``sign_in``.

``records`` are what both return, ``errors`` tell apart who has to do something, ``answers`` interprets what they share.
Nothing in here knows where tokens are kept.
"""
