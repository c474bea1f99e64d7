"""An LLM behind an API like OpenAI's, for agents in tests: it follows a plan, and is as strict as the real ones.

Rules:
- A request that the real API refuses is refused with its status and its words: tool names, schemas, keys.
- It calls one tool after the other, as planned, and answers with what they returned. What it has called so far, it
  reads from the conversation, so that many agents may ask at once.
"""

import json
import re
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Message = dict[str, Any]
Plan = Sequence[tuple[str, Message]]
"""The tools to call, as the ends of their names, and the arguments."""

KEY = "sk-test"
NAME = re.compile(r"[a-zA-Z0-9_-]+")
LONGEST = 64


class Refusal(Exception):
    """The agent's request is refused: status and error as the real API has them."""

    def __init__(self, message: str, param: str | None, code: str | None, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def check(request: Message) -> None:
    """That the tools that are offered, and those called before, can be.

    Raises:
        Refusal: one cannot.
    """
    for place, function in functions(request):
        name = function["name"]
        param = f"{place}.function.name"
        if not NAME.fullmatch(name):
            expected = "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
            raise Refusal(f"Invalid '{param}': string does not match pattern. {expected}", param, "invalid_value")
        if len(name) > LONGEST:
            expected = (
                f"Expected a string with maximum length {LONGEST}, but got a string with length {len(name)} instead."
            )
            raise Refusal(f"Invalid '{param}': string too long. {expected}", param, "string_above_max_length")
        schema = function.get("parameters", {"type": "object"})
        if schema.get("type") != "object":
            got = f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{schema.get('type')}\"'."
            param = f"{place}.function.parameters"
            raise Refusal(f"Invalid schema for function '{name}': {got}", param, "invalid_function_parameters")


def functions(request: Message) -> Iterator[tuple[str, Message]]:
    """The functions that a request names, each with its place."""
    for index, tool in enumerate(request.get("tools") or []):
        yield f"tools[{index}]", tool["function"]
    for index, message in enumerate(request["messages"]):
        for number, call in enumerate(message.get("tool_calls") or []):
            yield f"messages[{index}].tool_calls[{number}]", {"name": call["function"]["name"]}


def answer(request: Message, plan: Plan) -> Message:
    """The assistant's message: the next call of the plan, or, in the end, what the tools returned."""
    messages = request["messages"]
    done = sum(len(message.get("tool_calls") or []) for message in messages)
    if done == len(plan):
        results = [json.dumps(message["content"]) for message in messages if message["role"] == "tool"]
        return {"role": "assistant", "content": f"The tools say: {' '.join(results)}"}
    end, arguments = plan[done]
    offered = [tool["function"]["name"] for tool in request.get("tools") or []]
    called = [name for name in offered if name.endswith(end)]
    if len(called) != 1:
        return {"role": "assistant", "content": f"I would need one tool {end!r}; there are {offered}"}
    function = {"name": called[0], "arguments": json.dumps(arguments)}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": f"call_{done}", "type": "function", "function": function}],
    }


@contextmanager
def serve(plan: Plan) -> Iterator[tuple[str, list[Message]]]:
    """The API on a free port; yields its base URL, and the requests that come, in order."""
    requests: list[Message] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append(request)
            try:
                if self.headers["Authorization"] != f"Bearer {KEY}":
                    raise Refusal("Incorrect API key provided.", None, "invalid_api_key", 401)
                if self.path != "/v1/chat/completions":
                    raise Refusal(f"Invalid URL (POST {self.path})", None, None, 404)
                check(request)
            except Refusal as refusal:
                self.reply(refusal.status, "application/json", json.dumps(refusal.body))
                return
            message = answer(request, plan)
            reason = "tool_calls" if "tool_calls" in message else "stop"
            frame = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": 1, "model": request["model"]}
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            if not request.get("stream"):
                choices = [{"index": 0, "message": message, "finish_reason": reason}]
                whole = {**frame, "object": "chat.completion", "choices": choices, "usage": usage}
                self.reply(200, "application/json", json.dumps(whole))
                return
            calls = [{"index": i, **call} for i, call in enumerate(message.get("tool_calls", []))]
            delta = {**message, **({"tool_calls": calls} if calls else {})}
            chunks: list[Message] = [
                {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
                {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]},
            ]
            if (request.get("stream_options") or {}).get("include_usage"):
                chunks.append({"choices": [], "usage": usage})
            events = [json.dumps({**frame, "object": "chat.completion.chunk", **chunk}) for chunk in chunks]
            self.reply(200, "text/event-stream", "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"]))

        def reply(self, status: int, kind: str, body: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1", requests
        finally:
            server.shutdown()
            thread.join()
