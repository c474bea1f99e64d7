"""What MCP says and what a proxy decides: pure functions and objects. Bytes and values in, bytes and values out.

Nothing here knows an event loop, a clock, a socket or a file: whoever calls brings them along.
"""
