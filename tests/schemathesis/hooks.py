"""What schemathesis sends with ids of one's own, of the other tenant, of nobody and of no form; and what it looks for.

The file that ALPINE_TEST_STAGE names has: `token`, `ca`, `tally` (a file to write), `canaries`, and `ids`: for each
kind of id `own`, `foreign`, `absent` (a twin of `foreign`) and `malformed` (a list).
"""

import collections
import json
import os
import zlib

import requests
import schemathesis

with open(os.environ["ALPINE_TEST_STAGE"], encoding="utf-8") as file:
    STAGE = json.load(file)
IDS = STAGE["ids"]
# Where an id may stand that is in no path: the name of the parameter or of the body's field.
ELSEWHERE = {"tenant": "tenant_id", "tenant_id": "tenant_id", "cursor": "cursor", "repo_url": "repo_url", "idempotency-key": "key"}
TWINS = [(kind["foreign"], kind["absent"]) for kind in IDS.values()]
TALLY = collections.defaultdict(collections.Counter)


def pool(name):
    kind = IDS[name]
    # What is another's comes as often as all that is malformed.
    return [kind["own"], *[kind["foreign"], kind["absent"]] * 4, *kind["malformed"]]


def pick(name, given, salt):
    """One of the pool or what was made up, and for the same case always the same."""
    choices = [*pool(name), given, given]
    if given in choices[:-2]:
        return given
    return choices[zlib.crc32(f"{name} {given!r} {salt}".encode(errors="replace")) % len(choices)]


@schemathesis.hook
def before_call(context, case, kwargs):
    salt = f"{case.operation.label} {case.query!r} {case.body!r}"
    case.headers["Authorization"] = "Bearer " + STAGE["token"]
    # Nobody waits here.
    if "Prefer" in case.headers:
        case.headers["Prefer"] = "wait=0"
    if "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = pick("key", case.headers["Idempotency-Key"], salt)
    for name, value in list((case.path_parameters or {}).items()):
        case.path_parameters[name] = pick(name, value, salt)
    for container in (case.query, case.body):
        for name in container if isinstance(container, dict) else ():
            if name in ELSEWHERE:
                container[name] = pick(ELSEWHERE[name], container[name], salt)


def bare(response, ids):
    """An answer without what differs between any two."""
    content, request_id = response.content, response.headers["x-request-id"]
    # schemathesis has a list of values for each name.
    text = content.decode(errors="replace").replace(request_id if isinstance(request_id, str) else request_id[0], "{request}")
    for one in ids:
        text = text.replace(one, "{id}")
    return response.status_code, text


@schemathesis.check
def nothing_of_the_other_tenant_shows(ctx, response, case):
    sent = request_text(response.request)
    shown = response.content.decode(errors="replace") + repr(dict(response.headers))
    # What a request says itself may come back.
    leaked = [canary for canary in STAGE["canaries"] if canary in shown and canary not in sent]
    assert not leaked, f"{case.operation.label} shows {leaked}"


def request_text(request):
    body = request.body or b""
    body = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
    return f"{requests.utils.unquote(request.url)}\n{request.headers}\n{body}"


@schemathesis.check
class ForeignIsAbsent:
    """What names another's is answered as what names nobody's, and with an id in its path it is a 404."""

    def after_response(self, ctx, response, case):
        counts = TALLY[case.operation.definition.raw.get("operationId", case.operation.label)]
        counts["sent"] += 1
        counts[f"{response.status_code}"] += 1
        path, _, query = response.request.url.partition("?")
        in_path = [(foreign, absent) for foreign, absent in TWINS if foreign in path.split("/")]
        if not in_path and "tenant=" + IDS["tenant_id"]["foreign"] not in query.split("&"):
            return
        again = response.request.copy()
        for foreign, absent in TWINS:
            path = "/".join(absent if part == foreign else part for part in path.split("/"))
            query = query.replace("tenant=" + foreign, "tenant=" + absent)
        again.url = path + ("?" + query if query else "")
        with requests.Session() as session:
            session.trust_env = False
            twin = session.send(again, verify=STAGE["ca"], timeout=20)
        ids = [one for pair in TWINS for one in pair if one in f"{response.request.url} {again.url}"]
        seen, expected = bare(response, ids), bare(twin, ids)
        assert seen == expected, f"{case.operation.label}: of another {seen}, of nobody {expected}"
        assert 400 <= response.status_code < 500, f"{case.operation.label}: {seen}"
        counts["compared"] += 1
        counts[f"compared {response.status_code}"] += 1

    def after_run(self, ctx):
        with open(STAGE["tally"], "w", encoding="utf-8") as tally:
            json.dump(TALLY, tally)
