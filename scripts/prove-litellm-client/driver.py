"""Runs LiteLLM's own client and command line, unmodified, step by step.

Standard input: one JSON object {"url", "data_url", "key", "virtual_key", "steps": [{"name", "cli": [...]} or {"name", "call", "arguments"}]}.
Standard output: one JSON line {"commands": [...], "methods": [...]} with all that there is, then one a step:
{"name", "status": 0 or the status of HTTP or 1, "text": what was printed or returned}.
"""

import inspect
import json
import re
import sys

import click
from click.testing import CliRunner
from litellm.proxy.client import Client
from litellm.proxy.client.cli import cli
from litellm.proxy.client.health import HealthManagementClient
from litellm.proxy.client.users import UsersManagementClient


def commands(group, path=()):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name))


def status_of(error):
    response = getattr(error, "response", None) or getattr(getattr(error, "orig_exception", None), "response", None)
    if response is not None and response.status_code:
        return response.status_code
    found = re.search(r"\b([45]\d\d)\b", str(error))
    return int(found.group(1)) if found else 1


def run_cli(task, argv):
    result = CliRunner().invoke(cli, ["--base-url", task["url"], "--api-key", task["key"], *argv])
    text = result.output
    if result.exit_code == 0:
        return 0, text
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return status_of(result.exception), f"{text}{result.exception}"
    found = re.search(r"HTTP (\d{3})|\b([45]\d\d) ", text)
    return int(found.group(1) or found.group(2)) if found else 1, text


def run_call(parts, call, arguments):
    part, method = call.split(".")
    try:
        result = getattr(parts[part], method)(**arguments)
        return 0, json.dumps(list(result) if inspect.isgenerator(result) else result)
    except Exception as error:
        return status_of(error), str(error)


task = json.load(sys.stdin)
client = Client(base_url=task["url"], api_key=task["key"])
parts = {
    "http": client.http,
    "models": client.models,
    "model_groups": client.model_groups,
    "chat": Client(base_url=task["data_url"], api_key=task["virtual_key"]).chat,
    "keys": client.keys,
    "credentials": client.credentials,
    "teams": client.teams,
    "users": UsersManagementClient(base_url=task["url"], api_key=task["key"]),
    "health": HealthManagementClient(base_url=task["url"], api_key=task["key"]),
}
methods = [
    f"{part}.{name}"
    for part, object in parts.items()
    for name, _ in inspect.getmembers(object, inspect.ismethod)
    if not name.startswith("_")
]
print(json.dumps({"commands": list(commands(cli)), "methods": methods}), flush=True)
for step in task["steps"]:
    status, text = run_cli(task, step["cli"]) if "cli" in step else run_call(parts, step["call"], step["arguments"])
    print(json.dumps({"name": step["name"], "status": status, "text": text}), flush=True)
