#!/usr/bin/env python3
"""Counts through redis-py: redis_py.py COUNTER SECONDS PORT... ; see redis_clients_test.py."""

import json
import sys
import time

import redis

counter, seconds, ports = sys.argv[1], int(sys.argv[2]), [int(port) for port in sys.argv[3:]]
said = {"ok": 0, "unknown": 0, "failed": 0, "reconnects": 0}
turn = 0


def connect():
    global turn
    while True:
        client = redis.Redis(port=ports[turn % len(ports)], socket_timeout=20)
        turn += 1
        try:
            client.ping()
            return client
        except redis.RedisError:
            time.sleep(0.05)


def note(answer):
    if not isinstance(answer, Exception):
        said["ok"] += 1
    elif str(answer).startswith("UNKNOWN"):
        said["unknown"] += 1
    elif "NOT_APPLIED" in str(answer):
        said["failed"] += 1
    else:
        raise answer


client = connect()
until = time.monotonic() + seconds
batch = 1
while time.monotonic() < until:
    batch = 9 - batch
    try:
        if batch == 1:
            try:
                note(client.incr(counter))
            except redis.ResponseError as error:
                note(error)
        else:
            pipeline = client.pipeline(transaction=False)
            for _ in range(batch):
                pipeline.incrby(counter, 1)
            for answer in pipeline.execute(raise_on_error=False):
                note(answer)
    except (redis.ConnectionError, redis.TimeoutError):
        said["unknown"] += batch
        said["reconnects"] += 1
        client = connect()
print(json.dumps(said))
