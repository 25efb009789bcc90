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
ELSEWHERE = {"tenant": "tenant_id", "tenant_id": "tenant_id", "cursor": "cursor", "repo_url": "repo_url"}
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
                # Tokens are listed from one on.
                kind = "token_id" if case.path == "/v1/tokens" else ELSEWHERE[name]
                container[name] = pick(kind, container[name], salt)
    # What a session of one's own is made of is shown from then on, by whatever request comes next.
    if isinstance(case.body, dict) and case.body.get("repo_url") == IDS["repo_url"]["foreign"]:
        case.body["repo_url"] = IDS["repo_url"]["absent"]


def path_of(template, kind):
    """The path with ids of this kind in its places."""
    for name, ids in IDS.items():
        template = template.replace("{" + name + "}", ids[kind])
    return template


def send_to(url, request):
    again = request.copy()
    again.url = url.rstrip("?")
    with requests.Session() as session:
        session.trust_env = False
        return session.send(again, verify=STAGE["ca"], timeout=20)


def bare(response, url):
    """An answer without what differs between any two: the request's id, and the ids that were asked for."""
    text = response.text.replace(response.headers["x-request-id"], "{request}")
    for one in (one for pair in TWINS for one in pair if one in url):
        text = text.replace(one, "{id}")
    leaked = [canary for canary in STAGE["canaries"] if canary in text]
    assert not leaked, f"{url} shows {leaked}"
    passing = ("date", "x-request-id", "content-length")
    headers = sorted((name.lower(), value) for name, value in response.headers.items() if name.lower() not in passing)
    return response.status_code, text, headers


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
        foreign, absent = IDS["tenant_id"]["foreign"], IDS["tenant_id"]["absent"]
        base, _, query = response.request.url.partition("?")
        if "{" in case.path:
            # Whatever id was sent: the same request with another's, and with nobody's.
            host = "/".join(base.split("/")[:3])
            urls = [host + path_of(case.path, kind) + "?" + query for kind in ("foreign", "absent")]
        elif "tenant=" + foreign in query.split("&"):
            urls = [f"{base}?{query}", f"{base}?" + query.replace("tenant=" + foreign, "tenant=" + absent)]
        else:
            return
        seen, expected = (bare(send_to(url, response.request), url) for url in urls)
        assert seen == expected, f"{case.operation.label}: of another {seen}, of nobody {expected}"
        assert 400 <= seen[0] < 500, f"{case.operation.label}: {seen}"
        counts["compared"] += 1
        counts[f"compared {seen[0]}"] += 1

    def after_run(self, ctx):
        with open(STAGE["tally"], "w", encoding="utf-8") as tally:
            json.dump(TALLY, tally)
