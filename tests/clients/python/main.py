"""A user of the client that openapi-python-client makes of alpine.v1.json. What is between `docs` marks is shown in docs/clients.md."""

import hashlib
import json
import os
import ssl

# docs: begin
from alpine import AuthenticatedClient
from alpine.api.operations import get_operation
from alpine.api.sessions import create_session, down_session
from alpine.models import Operation, OperationStatus, UpSession
# docs: end
from alpine.api.sessions import get_record, get_session, list_events, list_sessions
from alpine.models import DownSession, EventPage, Problem, Session, SessionPage, SessionState, StoredRecord

SERVER, TOKEN, REPO = os.environ["ALPINE_SERVER"], os.environ["ALPINE_TOKEN"], os.environ["ALPINE_REPO"]
TRUST = ssl.create_default_context(cafile=os.environ["ALPINE_CA_FILE"])


def digest_of_record(answer: bytes, size_bytes: int) -> str:
    """SHA-256 of the bytes of `record` as they stand in the answer."""
    mark = b'"record":'
    start = answer.index(mark) + len(mark)
    return hashlib.sha256(answer[start : start + size_bytes]).hexdigest()


def refusal(answer: Operation | Problem | None) -> dict[str, object]:
    assert isinstance(answer, Problem), answer
    return {"status": answer.status, "error_code": answer.error_code.value}


# docs: begin

api = AuthenticatedClient(SERVER, token=TOKEN, verify_ssl=TRUST)
up = UpSession(repo_url=REPO, branch="main", public=True)
operation = create_session.sync(client=api, body=up, idempotency_key="the-key")
while isinstance(operation, Operation) and operation.status in (OperationStatus.QUEUED, OperationStatus.RUNNING):
    operation = get_operation.sync(operation.operation_id, client=api, prefer="wait=60")
assert isinstance(operation, Operation), operation
# docs: end
ready = operation
session_id = ready.session_id
replayed = create_session.sync(client=api, body=up, idempotency_key="the-key")
assert isinstance(replayed, Operation), replayed

listed = list_sessions.sync(client=api, state=SessionState.READY, limit=10)
assert isinstance(listed, SessionPage), listed
status = get_session.sync(session_id, client=api)
assert isinstance(status, Session), status
sequence: list[int] = []
while True:
    page = list_events.sync(session_id, client=api, after=sequence[-1] if sequence else 0, limit=2)
    assert isinstance(page, EventPage), page
    if not page.events:
        break
    sequence += [event.seq for event in page.events]

# docs: begin
stopped = down_session.sync(operation.session_id, client=api, prefer="wait=60")
# docs: end
assert isinstance(stopped, Operation) and stopped.state == SessionState.STOPPED, stopped
down_again = down_session.sync(session_id, client=api, body=DownSession(reason="once more"))
assert isinstance(down_again, Operation), down_again

answer = get_record.sync_detailed(session_id, client=api)
record = answer.parsed
assert isinstance(record, StoredRecord), answer

no_branch = create_session.sync(
    client=api, body=UpSession(repo_url=REPO, branch="no..branch", public=True), idempotency_key="another-key"
)
nobody = down_session.sync("ses_" + "0" * 32, client=api)

print(
    json.dumps(
        {
            "session_id": session_id,
            "operation_ids": [ready.operation_id, replayed.operation_id],
            "ready": ready.state.value,
            "commit": ready.target_commit_sha or None,
            "listed": [session.session_id for session in listed.sessions],
            "status": status.state.value,
            "sequence": sequence,
            "down_operation_ids": [stopped.operation_id, down_again.operation_id],
            "stopped": stopped.state.value,
            "verified": stopped.persistence_verified,
            "record_state": record.record.state.value,
            "sha256": record.sha256,
            "digest": digest_of_record(answer.content, record.size_bytes),
            "refusals": [refusal(no_branch), refusal(nobody)],
        }
    )
)
