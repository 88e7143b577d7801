"""Python's own HTTP client against Go's server behind a gateway: http_client.py ADDRESS PORT HOST [CERTIFICATE].

Prints the name of each thing that went well, and ends with an error at the first that did not.
"""

import hashlib
import http.client
import json
import socket
import ssl
import sys

address, port, host = sys.argv[1], int(sys.argv[2]), sys.argv[3]
context = ssl.create_default_context(cafile=sys.argv[4]) if len(sys.argv) > 4 else None


def connect():
    """A connection to the address, with the host in TLS."""
    stream = socket.create_connection((address, port), timeout=30)
    return context.wrap_socket(stream, server_hostname=host) if context else stream


class Connection(http.client.HTTPConnection):
    """A connection that asks for the host, wherever it leads."""

    def connect(self):
        self.sock = connect()


def ask(connection, method, path, body=None, **options):
    connection.request(method, path, body=body, headers=options.pop("headers", {}), **options)
    response = connection.getresponse()
    return response, response.read()


def expect(is_so, what):
    if not is_so:
        sys.exit(f"not so: {what}")


def read_until(reader, end):
    """Lines until one is `end`."""
    lines = []
    while not lines or lines[-1] != end:
        line = reader.readline()
        expect(line, f"the connection ends before {end!r}: {lines}")
        lines.append(line)
    return lines


def pieces(count):
    for number in range(count):
        yield f"piece {number}".encode() * 100


connection = Connection(host)
connection.connect()
first = connection.sock

for _ in range(20):
    response, body = ask(connection, "GET", "/hello")
    expect(response.status == 200 and body == b"hello\n", f"{response.status} {body}")
print("keep-alive")

response, body = ask(connection, "POST", "/checksum", pieces(100), encode_chunked=True,
                     headers={"Transfer-Encoding": "chunked"})
seen = json.loads(body)
expect(seen["sha256"] == hashlib.sha256(b"".join(pieces(100))).hexdigest(), seen)
expect(seen["length"] == -1, seen)
print("a chunked upload")

large = bytes(range(256)) * 20_000
response, body = ask(connection, "PUT", "/checksum", large)
expect(json.loads(body)["sha256"] == hashlib.sha256(large).hexdigest(), body)
print("a large upload")

response, body = ask(connection, "HEAD", "/hello")
expect(response.status == 200 and response.headers["Content-Length"] == "6" and body == b"", response.headers)
response, body = ask(connection, "GET", "/status/204")
expect(response.status == 204 and body == b"", response.status)
response, body = ask(connection, "GET", "/hello", headers={"If-None-Match": '"one"'})
expect(response.status == 304 and body == b"", response.status)
print("answers without body")

response, body = ask(connection, "GET", "/chunked?lines=10")
expect(response.headers["Transfer-Encoding"] == "chunked", response.headers)
expect(body.count(b"\n") == 10, body)
print("a chunked answer")

response, body = ask(connection, "OPTIONS", "*")
expect(response.status == 200, response.status)
print("the server as a whole")

expect(connection.sock is first, "all of that came over one connection")
print("one connection")

stream = connect()
reader = stream.makefile("rb")
request = f"POST /checksum HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
stream.sendall(request.encode())
lines = read_until(reader, b"\r\n")
expect(lines[0].startswith(b"HTTP/1.1 100 "), lines)
stream.sendall(b"body")
lines = read_until(reader, b"\r\n")
expect(lines[0].startswith(b"HTTP/1.1 200 "), lines)
stream.close()
print("100-continue")

stream = connect()
reader = stream.makefile("rb")
one = f"GET /hello HTTP/1.1\r\nHost: {host}\r\n\r\n"
last = f"GET /hello HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
stream.sendall((one * 9 + last).encode())
answers = reader.read()
expect(answers.count(b"HTTP/1.1 200 ") == 10 and answers.count(b"\r\n\r\nhello\n") == 10, answers)
expect(b"connection: close" in answers.lower(), answers)
stream.close()
print("pipelining")

connection = Connection(host)
connection.request("GET", "/bytes?size=50000000")
response = connection.getresponse()
response.read(1000)
connection.close()
response, body = ask(Connection(host), "GET", "/hello")
expect(response.status == 200, response.status)
print("going away in the middle")
