"""OpenAI's and Anthropic's Python libraries, as they are installed by default, driven by lines of JSON.

A line in: {"id", "api": "chat" | "responses" | "messages", "base_url", "key", "model", "prompt"}.
A line out, when it has ended: {"id", "answer": text} or {"id", "error": class and message}.
"""

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import anthropic
import openai

AT_ONCE = 64
MOST_TOKENS = 500
printing = threading.Lock()


def chat(case: dict) -> str:
    client = openai.OpenAI(api_key=case["key"], base_url=f"{case['base_url']}/v1")
    messages = [{"role": "user", "content": case["prompt"]}]
    stream = client.chat.completions.create(model=case["model"], messages=messages, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def responses(case: dict) -> str:
    client = openai.OpenAI(api_key=case["key"], base_url=f"{case['base_url']}/v1")
    text = ""
    for event in client.responses.create(model=case["model"], input=case["prompt"], stream=True):
        if event.type == "response.output_text.delta":
            text += event.delta
        if event.type in ("error", "response.failed"):
            raise RuntimeError(f"event {event.type}: {getattr(event, 'message', None) or event.response.error}")
    return text


def messages(case: dict) -> str:
    client = anthropic.Anthropic(api_key=case["key"], base_url=case["base_url"])
    said = [{"role": "user", "content": case["prompt"]}]
    with client.messages.stream(model=case["model"], max_tokens=MOST_TOKENS, messages=said) as stream:
        return "".join(stream.text_stream)


APIS = {"chat": chat, "responses": responses, "messages": messages}


def run(case: dict) -> None:
    try:
        ended = {"answer": APIS[case["api"]](case)}
    except Exception as error:
        ended = {"error": f"{type(error).__name__}: {error}"}
    with printing:
        print(json.dumps({"id": case["id"], **ended}), flush=True)


with ThreadPoolExecutor(AT_ONCE) as pool:
    for line in sys.stdin:
        pool.submit(run, json.loads(line))
