"""The floor of a sidecar in size and start-up: redis-py subscribes, PyYAML is there, and nothing else is done."""

import sys

import redis
import yaml

pubsub = redis.Redis(port=int(sys.argv[1])).pubsub()
pubsub.subscribe(sys.argv[2])
for message in pubsub.listen():
    if message["type"] == "message":
        yaml.load(message["data"], Loader=yaml.CSafeLoader)
