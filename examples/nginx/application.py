#!/usr/bin/env python3
"""The application of this example: it answers with the headers that nginx sent. The argument is its port."""

import http.server
import sys


class Application(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(self.headers).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Application).serve_forever()
