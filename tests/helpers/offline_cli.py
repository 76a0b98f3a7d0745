"""``arena-ensemble`` in which any use of an internet socket ends the process at once, workers included."""

import os
import sys

FORBIDDEN = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind")


def watch(event: str, values: tuple[object, ...]) -> None:
    inet = event == "socket.__new__" and int(
        str(values[1].value if hasattr(values[1], "value") else values[1])
    ) in (2, 10)
    if inet or event in FORBIDDEN:
        os.write(2, f"SOCKET {event} {values}\n".encode())
        os._exit(99)


sys.addaudithook(watch)

if __name__ == "__main__":
    from arena_ensemble.__main__ import main

    sys.exit(main())
