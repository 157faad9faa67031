"""A WSGI application that reads conf.yml when a worker starts; as a program it checks a conf.yml."""

import os
import sys

import yaml


def load(path):
    """The configuration; ValueError says what is wrong with it."""
    with open(path, encoding="utf-8") as file:
        conf = yaml.safe_load(file)
    if not isinstance(conf.get("rate_limit_rps"), int) or conf["rate_limit_rps"] < 1:
        raise ValueError(f"rate_limit_rps must be a positive number, not {conf.get('rate_limit_rps')!r}")
    return conf


def application(environ, start_response):
    """Say what is in force."""
    body = f"{CONF['greeting']}, limit={CONF['rate_limit_rps']} of worker {os.getpid()}\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


if __name__ == "__main__":
    try:
        load(sys.argv[1])
    except ValueError as error:
        sys.exit(str(error))
else:
    CONF = load("conf.yml")
