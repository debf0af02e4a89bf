"""OpenStack Swift itself, for the tests: account, container, object and proxy server in one process.

    python swift_server.py DIR PORT KEYSTONE_PORT

Swift's own code, as it comes from PyPI, over three one-device rings in DIR; this file only makes
the rings and the configuration, and puts in for three neighbours that a deployment has beside it:

* memcached, by a dictionary (TempAuth keeps its tokens there);
* Keystone, by as much of its v2.0 and v3 tokens as a client can see: it checks what it is sent,
  and answers with a TempAuth token of the same account and a catalog that leads to it;
* an impatient operator: `POST /forget-tokens` at Keystone's port makes all tokens run out.
"""

import json
import os
import sys
import time
import urllib.request

import eventlet
import eventlet.wsgi

eventlet.monkey_patch()

directory, port, keystone_port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
swift_dir = os.path.join(directory, "etc")
os.makedirs(swift_dir)

# Small enough that a test can reach the limit of one object.
CONF = """[swift-hash]
swift_hash_path_prefix = windlass
swift_hash_path_suffix = windlass
[storage-policy:0]
name = only
default = yes
[swift-constraints]
max_file_size = 33554432
"""
with open(os.path.join(swift_dir, "swift.conf"), "w") as conf:
    conf.write(CONF)

# Paths are read when these are imported.
import swift.common.utils
import swift.common.constraints
import swift.common.storage_policy as storage_policy

conf_file = os.path.join(swift_dir, "swift.conf")
swift.common.utils.SWIFT_CONF_FILE = conf_file
swift.common.constraints.SWIFT_CONSTRAINTS_LOADED = False
swift.common.utils.validate_hash_conf()
import swift.common.utils.config as utils_config

for module in (swift.common.utils, utils_config):
    if hasattr(module, "SWIFT_CONF_FILE"):
        module.SWIFT_CONF_FILE = conf_file
utils_config.HASH_PATH_PREFIX = utils_config.HASH_PATH_SUFFIX = b"windlass"
for module in (swift.common.constraints,):
    if hasattr(module, "SWIFT_CONF_FILE"):
        module.SWIFT_CONF_FILE = conf_file
    module.reload_constraints()
storage_policy.reload_storage_policies()

from swift.common.ring import RingBuilder
from swift.common.wsgi import loadapp

KEY = "t3st/with+odd=chars"
ACCOUNT, USER = "test", "tester"


def listen(on):
    return eventlet.listen(("127.0.0.1", on), reuse_addr=True)


sockets = {name: listen(0) for name in ("account", "container", "object")}
os.makedirs(os.path.join(directory, "devices", "sda1"))
for name, socket in sockets.items():
    builder = RingBuilder(1, 1, 0)
    builder.add_dev(
        {"region": 1, "zone": 1, "ip": "127.0.0.1", "port": socket.getsockname()[1],
         "device": "sda1", "weight": 1}
    )
    builder.rebalance()
    builder.get_ring().save(os.path.join(swift_dir, name + ".ring.gz"))

COMMON = """[DEFAULT]
swift_dir = {swift_dir}
devices = {devices}
mount_check = false
log_level = ERROR
fallocate_reserve = 0
disable_fallocate = true
conn_timeout = 30
node_timeout = 60
# A listing that comes later than its object would make stores seem empty.
container_update_timeout = 30
"""
SERVER = """[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
"""
# TempAuth splits its options at blanks, and takes what comes after the key for groups.
PROXY = """[pipeline:main]
pipeline = catch_errors gatekeeper bulk tempauth slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
conn_timeout = 30
node_timeout = 60
recoverable_node_timeout = 60
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:bulk]
use = egg:swift#bulk
[filter:tempauth]
use = egg:swift#tempauth
storage_url_scheme = http
user_{account}_{user} = {key} .admin http://127.0.0.1:{port}/v1/AUTH_{account}
user_{account}_reader = {key} http://127.0.0.1:{port}/v1/AUTH_{account}
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
"""


def app(name, text):
    path = os.path.join(swift_dir, name + "-server.conf")
    values = {"name": name, "swift_dir": swift_dir, "port": port, "key": KEY, "account": ACCOUNT,
              "user": USER, "devices": os.path.join(directory, "devices")}
    with open(path, "w") as conf:
        conf.write((COMMON + text).format(**values))
    return loadapp(path, global_conf={"log_name": name})


class Memory:
    """As much of swift.common.memcached's client as the proxy asks for."""

    def __init__(self):
        self.values = {}

    def get(self, key, *_, **__):
        value, until = self.values.get(key, (None, None))
        return value if until is None or until > time.time() else None

    def set(self, key, value, serialize=True, time=0, **_):
        import time as clock

        # Through JSON, as to a real one: tuples come back as lists.
        value = json.loads(json.dumps(value)) if serialize else value
        self.values[key] = (value, clock.time() + time if time else None)

    def incr(self, key, delta=1, time=0, **_):
        value = int(self.get(key) or 0) + delta
        self.set(key, value, time=time)
        return value

    def decr(self, key, delta=1, time=0, **_):
        return self.incr(key, -delta, time)

    def delete(self, key, *_, **__):
        self.values.pop(key, None)

    def get_multi(self, keys, *_, **__):
        return [self.get(key) for key in keys]

    def set_multi(self, mapping, *_, serialize=True, time=0, **__):
        for key, value in mapping.items():
            self.set(key, value, serialize, time)


memory = Memory()


def with_memory(inner):
    def call(env, start_response):
        env["swift.cache"] = memory
        return inner(env, start_response)

    return call


def tempauth_token(user, key):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/auth/v1.0", headers={"X-Auth-User": user, "X-Auth-Key": key}
    )
    with urllib.request.urlopen(request) as answer:
        return answer.headers["X-Auth-Token"]


def keystone(env, start_response):
    def answer(status, body=None, headers=()):
        start_response(status, [("Content-Type", "application/json"), *headers])
        return [json.dumps(body or {}).encode()]

    path = env["PATH_INFO"]
    if path == "/forget-tokens":
        for key in [key for key in memory.values if "/token/" in key or "/user/" in key]:
            memory.delete(key)
        return answer("204 No Content")
    auth = json.load(env["wsgi.input"])["auth"]
    url = f"http://127.0.0.1:{port}/v1/AUTH_{ACCOUNT}"
    try:
        if path == "/v2.0/tokens":
            password = auth["passwordCredentials"]
            assert auth["tenantName"] == ACCOUNT
            token = tempauth_token(ACCOUNT + ":" + password["username"], password["password"])
            endpoints = [{"region": "one", "publicURL": url, "internalURL": "http://127.0.0.1:9"}]
            catalog = [{"type": "object-store", "endpoints": endpoints}]
            return answer("200 OK", {"access": {"token": {"id": token}, "serviceCatalog": catalog}})
        assert path == "/v3/auth/tokens"
        user, project = auth["identity"]["password"]["user"], auth["scope"]["project"]
        assert user["domain"] in ({"id": "default"}, {"name": "Default"}), user
        assert project["domain"] in ({"id": "default"}, {"name": "Default"}), project
        assert project["name"] == ACCOUNT
        token = tempauth_token(ACCOUNT + ":" + user["name"], user["password"])
        endpoints = [
            {"interface": "internal", "region": "one", "url": "http://127.0.0.1:9"},
            {"interface": "public", "region": "two", "url": "http://127.0.0.1:9"},
            {"interface": "public", "region": "one", "url": url},
        ]
        catalog = [{"type": "identity", "endpoints": []},
                   {"type": "object-store", "endpoints": endpoints}]
        return answer("201 Created", {"token": {"catalog": catalog}}, [("X-Subject-Token", token)])
    except (AssertionError, KeyError, urllib.request.HTTPError):
        return answer("401 Unauthorized", {"error": {"code": 401}})


def serve(socket, application):
    eventlet.spawn(
        eventlet.wsgi.server, socket, application, max_size=1024, log_output=False,
        socket_timeout=None, keepalive=True,
    )


for name, socket in sockets.items():
    serve(socket, app(name, SERVER))
serve(listen(port), with_memory(app("proxy", PROXY)))
serve(listen(keystone_port), keystone)
while True:
    eventlet.sleep(3600)
