"""Broken proxies: for each requirement one that fails it, so that the harness is seen to notice.

mux.py is a correct proxy over stdio, defects/ breaks it; broken_http.py breaks multimcp over HTTP.
"""
