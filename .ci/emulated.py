"""Shared by the scripts that run functions locally: calls to the emulated services, functions under a stub of Lambda's runtime API,
and TOTP codes. DynamoDB is at DYNAMODB_LOCAL, and all other AWS services are at KMS_EMULATOR, which is moto.
"""

import base64
import hashlib
import hmac
import http.server
import json
import os
import queue
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.request

DYNAMODB, KMS = os.environ["DYNAMODB_LOCAL"], os.environ["KMS_EMULATOR"]
REGION = "eu-central-1"


def call(service, target, body, path="/"):
    """Calls an action of a service, or a path of a service without named actions. Returns the answer."""
    sign = f"AWS4-HMAC-SHA256 Credential=test/20261124/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"
    headers = {"content-type": "application/x-amz-json-1.0" if target else "application/json", "authorization": sign}
    if target:
        headers["x-amz-target"] = target
    url = (DYNAMODB if service == "dynamodb" else KMS) + path
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"null")


def create_table(name, index, stream=True):
    """Creates a table. Returns the ARN of its stream, or None."""
    key = lambda hash_key, range_key: [
        {"AttributeName": hash_key, "KeyType": "HASH"}, {"AttributeName": range_key, "KeyType": "RANGE"}
    ]
    names = ["PK", "SK"] + (["GP", "GS"] if index else [])
    body = {
        "TableName": name, "BillingMode": "PAY_PER_REQUEST", "KeySchema": key("PK", "SK"),
        "AttributeDefinitions": [{"AttributeName": one, "AttributeType": "S"} for one in names],
    }
    if stream:
        body["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}
    if index:
        body["GlobalSecondaryIndexes"] = [
            {"IndexName": "dir", "KeySchema": key("GP", "GS"), "Projection": {"ProjectionType": "ALL"}}
        ]
    return call("dynamodb", "DynamoDB_20120810.CreateTable", body)["TableDescription"].get("LatestStreamArn")


def create_key(spec, usage):
    return call("kms", "TrentService.CreateKey", {"KeySpec": spec, "KeyUsage": usage})["KeyMetadata"]["KeyId"]


def request(url, method, path, token="", body=None):
    """Calls the API. Returns the status and the answer."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    payload = None if body is None else json.dumps(body).encode()
    if payload is not None:
        headers["content-type"] = "application/json"
    prepared = urllib.request.Request(url + path, payload, headers, method=method)
    try:
        with urllib.request.urlopen(prepared, timeout=300) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def invoke(url, function, event):
    """Invokes a function of cargo-lambda's emulator, as Lambda's API does. An error is an answer with `errorType`."""
    return request(url, "POST", f"/2015-03-31/functions/{function}/invocations", body=event)[1]


def stream(table):
    """Yields, at each `next`, the new records of the table's stream."""
    streams = lambda action, body: call("dynamodb", f"DynamoDBStreams_20120810.{action}", body)
    arn = streams("ListStreams", {"TableName": table})["Streams"][0]["StreamArn"]
    iterators = {}
    while True:
        records = []
        for shard in streams("DescribeStream", {"StreamArn": arn})["StreamDescription"]["Shards"]:
            name = shard["ShardId"]
            if name not in iterators:
                start = {"StreamArn": arn, "ShardId": name, "ShardIteratorType": "TRIM_HORIZON"}
                iterators[name] = streams("GetShardIterator", start)["ShardIterator"]
            while iterators[name]:
                page = streams("GetRecords", {"ShardIterator": iterators[name]})
                iterators[name] = page.get("NextShardIterator")
                if not page["Records"]:
                    break
                records += page["Records"]
        yield records


def deliver(url, records, queue):
    """Delivers as AWS does: passes the stream's records to `audit-events`, and the events that the bus's rule put into the queue to
    `notify`. Returns the number of these events."""
    # In batches of the size that Lambda uses.
    for n in range(0, len(records), 100):
        done = invoke(url, "audit-events", {"Records": records[n:n + 100]})
        assert done == {"batchItemFailures": []}, done
    delivered = 0
    receive = {"QueueUrl": queue, "MaxNumberOfMessages": 10}
    while messages := call("sqs", "AmazonSQS.ReceiveMessage", receive).get("Messages"):
        for message in messages:
            done = invoke(url, "notify", json.loads(message["Body"]))
            assert done is None, done
            call("sqs", "AmazonSQS.DeleteMessage", {"QueueUrl": queue, "ReceiptHandle": message["ReceiptHandle"]})
            delivered += 1
    return delivered


def deliver_orders(url, queue):
    """Passes the messages that ask for mails to `password-mail`, one in an event, as the template configures Lambda."""
    receive = {"QueueUrl": queue, "MaxNumberOfMessages": 1}
    while messages := call("sqs", "AmazonSQS.ReceiveMessage", receive).get("Messages"):
        for message in messages:
            done = invoke(url, "password-mail", {"Records": [{"body": message["Body"]}]})
            assert done is None, done
            call("sqs", "AmazonSQS.DeleteMessage", {"QueueUrl": queue, "ReceiptHandle": message["ReceiptHandle"]})


def mails():
    """All mails that the emulated SES accepted, oldest first."""
    with urllib.request.urlopen(KMS + "/moto-api/data.json", timeout=30) as answer:
        return json.load(answer)["ses"].get("Message", [])


class Function:
    """A function under its own runtime API; it gets one event at a time."""

    def __init__(self, name, variables, before=()):
        events, answers = queue.Queue(), queue.Queue()

        class Runtime(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                body = json.dumps(events.get()).encode()
                self.send_response(200)
                for header, value in {
                    "lambda-runtime-aws-request-id": "r-1", "lambda-runtime-deadline-ms": "99999999999999",
                    "lambda-runtime-invoked-function-arn": "arn", "content-length": str(len(body)),
                }.items():
                    self.send_header(header, value)
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                answers.put(json.loads(body or b"null"))
                self.send_response(202)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Runtime)
        server.handle_error = lambda *_: None  # a stopped function closes its connection
        threading.Thread(target=server.serve_forever, daemon=True).start()
        runtime = {"AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_port}", "AWS_LAMBDA_FUNCTION_NAME": name,
                   "AWS_LAMBDA_FUNCTION_VERSION": "1", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
                   "AWS_LAMBDA_LOG_GROUP_NAME": "g", "AWS_LAMBDA_LOG_STREAM_NAME": "s"}
        self.process = subprocess.Popen([*before, f"target/debug/{name}"], env={"PATH": os.environ["PATH"], **variables, **runtime},
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines, self.events, self.answers = [], events, answers
        threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True).start()

    def invoke(self, event):
        self.events.put(event)
        return self.answers.get(timeout=60)

    def send(self, path, body, token=""):
        with open("tests/events/api-gateway-v2.json", encoding="utf-8") as file:
            event = json.load(file)
        event["rawPath"] = event["requestContext"]["http"]["path"] = path
        event["requestContext"]["http"]["method"] = "POST"
        event["headers"] |= {"content-type": "application/json", "authorization": f"Bearer {token}"}
        event["body"] = json.dumps(body)
        answer = self.invoke(event)
        return answer["statusCode"], json.loads(answer["body"])

    def end(self):
        self.process.kill()
        self.process.wait()

    def faults(self):
        """The configuration errors of the first report; no other log line is an error."""
        errors = [json.loads(line) for line in list(self.lines) if '"ERROR"' in line]
        assert errors, self.lines
        return errors[0]["faults"]


def code(secret, shift=0):
    """The TOTP code this many seconds from now, as a request body (RFC 6238)."""
    key = base64.b32decode(secret.replace(" ", ""))
    digest = hmac.new(key, struct.pack(">Q", int(time.time() + shift) // 30), hashlib.sha1).digest()
    at = digest[-1] & 15
    return {"code": f"{(struct.unpack('>I', digest[at:at + 4])[0] & 0x7FFFFFFF) % 1_000_000:06}"}
