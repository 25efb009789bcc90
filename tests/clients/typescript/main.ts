// A user of the client that openapi-typescript and openapi-fetch make of alpine.v1.json.
// NODE_EXTRA_CA_CERTS names the server's CA. What is between the `docs` marks is shown in docs/clients.md.
import { createHash } from "node:crypto";
// docs: begin
import createClient from "openapi-fetch";
import type { components, paths } from "./alpine.js";

const { ALPINE_SERVER = "", ALPINE_TOKEN = "", ALPINE_REPO = "" } = process.env;
const alpine = createClient<paths, `application/${string}`>({ baseUrl: ALPINE_SERVER, headers: { Authorization: `Bearer ${ALPINE_TOKEN}` } });
const wait = { Prefer: "wait=60" };

async function up(key: string, branch: string): Promise<Operation> {
  const body = { repo_url: ALPINE_REPO, branch, public: true };
  const accepted = await alpine.POST("/v1/sessions", { params: { header: { "Idempotency-Key": key } }, body });
  if (accepted.error) throw new Refused(accepted.error);
  return accepted.data;
}

async function ended(operation: Operation): Promise<Operation> {
  while (operation.status === "queued" || operation.status === "running") {
    const path = { operation_id: operation.operation_id };
    const answer = await alpine.GET("/v1/operations/{operation_id}", { params: { path, header: wait } });
    if (answer.error) throw new Refused(answer.error);
    operation = answer.data;
  }
  return operation;
}

async function down(session_id: string): Promise<Operation> {
  const stopped = await alpine.POST("/v1/sessions/{session_id}/down", { params: { path: { session_id }, header: wait } });
  if (stopped.error) throw new Refused(stopped.error);
  return ended(stopped.data);
}
// docs: end

type Operation = components["schemas"]["Operation"];
type Problem = components["schemas"]["Problem"];

class Refused extends Error {
  constructor(readonly problem: Problem) {
    super(`${problem.error_code}: ${problem.cause}`);
  }
}

/** What the call was refused with; it must be. */
async function refusal(call: Promise<Operation>): Promise<Problem> {
  try {
    await call;
  } catch (error) {
    if (error instanceof Refused) return error.problem;
    throw error;
  }
  throw new Error("it was not refused");
}

/** SHA-256 of the bytes of `record` as they stand in the answer. */
function digestOfRecord(answer: string, sizeBytes: number): string {
  const mark = '"record":';
  const bytes = Buffer.from(answer);
  const start = bytes.indexOf(mark) + mark.length;
  return createHash("sha256").update(bytes.subarray(start, start + sizeBytes)).digest("hex");
}

const first = await up("the-key", "main");
const again = await up("the-key", "main");
const ready = await ended(again);
const { session_id } = first;
const path = { session_id };

const list = await alpine.GET("/v1/sessions", { params: { query: { state: "ready", limit: 10 } } });
if (list.error) throw new Refused(list.error);
const status = await alpine.GET("/v1/sessions/{session_id}", { params: { path } });
if (status.error) throw new Refused(status.error);
const sequence: number[] = [];
for (;;) {
  const after = sequence.at(-1) ?? 0;
  const page = await alpine.GET("/v1/sessions/{session_id}/events", { params: { path, query: { after, limit: 2 } } });
  if (page.error) throw new Refused(page.error);
  if (page.data.events.length === 0) break;
  sequence.push(...page.data.events.map((event) => event.seq));
}

const stopped = await down(session_id);
if (stopped.state !== "stopped") throw new Error(`it is ${stopped.state}: ${stopped.next_step ?? ""}`);
const downAgain = await alpine.POST("/v1/sessions/{session_id}/down", { params: { path }, body: { reason: "once more", force: false, retry_persist: false } });
if (downAgain.error) throw new Refused(downAgain.error);

const record = await alpine.GET("/v1/sessions/{session_id}/record", { params: { path } });
if (record.error) throw new Refused(record.error);
const text = await alpine.GET("/v1/sessions/{session_id}/record", { params: { path }, parseAs: "text" });
if (text.error) throw new Refused(text.error);

const noBranch = await refusal(up("another-key", "no..branch"));
const nobody = await refusal(down(`ses_${"0".repeat(32)}`));

console.log(
  JSON.stringify({
    session_id,
    operation_ids: [first.operation_id, again.operation_id, ready.operation_id],
    ready: ready.state,
    commit: ready.target_commit_sha,
    listed: list.data.sessions.map((session) => session.session_id),
    status: status.data.state,
    last_seq: status.data.last_transition.seq,
    sequence,
    down_operation_ids: [stopped.operation_id, downAgain.data.operation_id],
    stopped: stopped.state,
    verified: stopped.persistence_verified,
    record_state: record.data.record.state,
    sha256: record.data.sha256,
    digest: digestOfRecord(text.data, record.data.size_bytes),
    refusals: [noBranch, nobody].map(({ status, error_code }) => ({ status, error_code })),
  }),
);
