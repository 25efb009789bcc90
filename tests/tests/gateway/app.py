# What a session serves in these tests: it tells what it was asked, streams, echoes, and answers what no program should.
import base64, http.server, json, os, socketserver, threading, time

PASSWORD = os.environ.get("OPENCODE_SERVER_PASSWORD", "")
OWN = "Basic " + base64.b64encode(("opencode:" + PASSWORD).encode()).decode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def body(self):
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def stream(self, kind):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for number in range(100_000):
            self.chunk(b"data: %d\n\n" % number)
            time.sleep(0.1)

    def websocket(self):
        self.send_response(101)
        self.send_header("upgrade", "websocket")
        self.send_header("connection", "Upgrade")
        self.send_header("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        self.end_headers()
        # Whatever comes goes back.
        while data := self.connection.recv(65536):
            self.connection.sendall(data)
        self.close_connection = True

    def handle_any(self):
        self.asked = getattr(self, "asked", 0) + 1
        if not PASSWORD or self.headers.get_all("authorization") != [OWN]:
            return self.answer(401, b"not the gateway")
        path = self.path.split("?")[0]
        if path == "/echo":
            said = {"method": self.command, "path": self.path, "headers": self.headers.items(), "body": self.body().decode()}
            return self.answer(200, json.dumps(said).encode(), [("content-type", "application/json")])
        if path == "/sw.js":
            script = b"self.addEventListener('fetch', (e) => { self.seen = e.request.url; e.respondWith(new Response('stolen')); });"
            return self.answer(200, script, [("content-type", "text/javascript")])
        if path == "/events":
            return self.stream("text/event-stream")
        if path == "/endless":
            return self.stream("application/octet-stream")
        if path == "/flood":
            self.send_response(200)
            self.send_header("connection", "close")
            self.end_headers()
            self.close_connection = True
            while True:
                self.wfile.write(b"x" * 65536)
        if path == "/ws":
            return self.websocket()
        if path == "/serve":
            # Another program's part: it listens on a port of its own choice, and asks for no password.
            said = dict(pair.split("=") for pair in self.path.split("?")[1].split("&"))
            other = Server((said.get("host", os.environ["HOST"]), int(said["port"])), Other)
            threading.Thread(target=other.serve_forever, daemon=True).start()
            return self.answer(200, b"served")
        if path == "/leave":
            # It runs on and listens no more.
            threading.Thread(target=server.shutdown).start()
            return self.answer(200, b"bye", [("connection", "close")])
        if path == "/line":
            # Which connection, and the how manieth request on it.
            return self.answer(200, b"%d %d" % (self.client_address[1], self.asked))
        if path == "/line/chunked":
            self.send_response(200)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            self.chunk(b"%d " % self.client_address[1])
            self.chunk(b"%d" % self.asked)
            return self.wfile.write(b"0\r\n\r\n")
        if path == "/line/closes":
            self.close_connection = True
            return self.answer(200, b"%d %d" % (self.client_address[1], self.asked))
        if path == "/line/once":
            # Nobody is answered twice on it.
            self.close_connection = self.asked > 1
            return None if self.asked > 1 else self.answer(200, b"%d %d" % (self.client_address[1], self.asked))
        if path == "/line/more":
            # And more than it has said.
            self.answer(200, b"%d %d" % (self.client_address[1], self.asked))
            return self.wfile.write(b"and more\r\n")
        if path == "/long":
            return self.answer(200, b"long " * 300_000)
        if path == "/broken":
            # Less than it says.
            self.send_response(200)
            self.send_header("content-length", "100")
            self.end_headers()
            self.close_connection = True
            return self.wfile.write(b"x" * 50)
        if path == "/broken/chunked":
            # And never says that it is all.
            self.send_response(200)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            self.close_connection = True
            return self.chunk(b"x" * 50)
        if path == "/led":
            # Wherever it is asked to.
            return self.answer(307, b"", [("location", self.path.split("?to=")[1])])
        if path == "/slow":
            time.sleep(3)
            return self.answer(200, b"slow")
        if path == "/teapot":
            return self.answer(418, b"a teapot", [("x-own", "1")])
        if path == "/nasty":
            return self.answer(
                200,
                b"nasty",
                [
                    ("set-cookie", "own=1; Path=/"),
                    ("set-cookie", "wide=1; Domain=apps.localhost"),
                    ("set-cookie", "__Host-alpine-session=stolen; Path=/; Secure"),
                    ("cache-control", "public, max-age=60"),
                    ("alt-svc", 'h3=":1"'),
                    ("keep-alive", "timeout=5"),
                    ("clear-site-data", '"*"'),
                    ("x-accel-redirect", "/internal/"),
                    ("service-worker-allowed", "/"),
                    ("nel", "{}"),
                ],
            )
        if path == "/switch":
            self.send_response(101)
            self.send_header("upgrade", "other")
            self.send_header("connection", "Upgrade")
            self.end_headers()
            self.close_connection = True
            return None
        if path == "/garbage":
            self.wfile.write(b"this is no HTTP\r\n\r\n")
            self.close_connection = True
            return None
        return self.answer(200, b"<html>the session's page</html>", [("content-type", "text/html")])

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = handle_any


class Other(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        body = json.dumps({"headers": self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 512


server = Server((os.environ["HOST"], int(os.environ["PORT"])), Handler)
server.serve_forever()
server.socket.close()
time.sleep(1_000_000)
