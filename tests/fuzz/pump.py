"""The process of a server whose words come from elsewhere: `python pump.py PORT` passes on bytes, both ways."""

import os
import socket
import sys
import threading

connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))


def listen() -> None:
    try:
        while data := os.read(0, 1 << 16):
            connection.sendall(data)
    finally:
        os._exit(0)


threading.Thread(target=listen, daemon=True).start()
try:
    while said := connection.recv(1 << 16):
        while said:
            said = said[os.write(1, said) :]
finally:
    os._exit(0)
