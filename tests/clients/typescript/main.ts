// A user of the client that openapi-typescript and openapi-fetch make of alpine.v1.json.
// NODE_EXTRA_CA_CERTS names the server's CA. What is between `docs` marks is shown in docs/clients.md.
import { createHash } from "node:crypto";
// docs: begin
import createClient from "openapi-fetch";
import type { paths } from "./alpine.js";
// docs: end
import type { components } from "./alpine.js";

type Problem = components["schemas"]["Problem"];
const { ALPINE_SERVER: baseUrl = "", ALPINE_TOKEN: token = "", ALPINE_REPO: repo_url = "" } = process.env;

/** What was asked for; throws where the answer is a problem. */
function ok<T>({ data, error }: { data?: T; error?: Problem }): NonNullable<T> {
  if (data === undefined || data === null) throw new Error(error ? `${error.error_code}: ${error.cause}` : "no answer");
  return data;
}

/** What the call was refused with; it must be. */
function refusal({ error }: { error?: Problem }) {
  if (!error) throw new Error("it was not refused");
  return { status: error.status, error_code: error.error_code };
}

/** SHA-256 of the bytes of `record` as they stand in the answer. */
function digestOfRecord(answer: string, sizeBytes: number): string {
  const mark = '"record":';
  const bytes = Buffer.from(answer);
  const start = bytes.indexOf(mark) + mark.length;
  return createHash("sha256").update(bytes.subarray(start, start + sizeBytes)).digest("hex");
}

/** The `id` of every message of a stream of events, which ends as the session is over. */
async function numbers(stream: ReadableStream<Uint8Array>): Promise<number[]> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const piece of stream) text += decoder.decode(piece, { stream: true });
  return [...text.matchAll(/^id: ?(\d+)$/gm)].map((id) => Number(id[1]));
}

// docs: begin

const alpine = createClient<paths, `application/${string}`>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });
const up = { params: { header: { "Idempotency-Key": "the-key" } }, body: { repo_url, branch: "main", public: true } };
let operation = ok(await alpine.POST("/v1/sessions", up));
while (operation.status === "queued" || operation.status === "running") {
  const params = { path: { operation_id: operation.operation_id }, header: { Prefer: "wait=60" } };
  operation = ok(await alpine.GET("/v1/operations/{operation_id}", { params }));
}
// docs: end
const ready = operation;
const path = { session_id: ready.session_id };
const replayed = ok(await alpine.POST("/v1/sessions", up));

const list = ok(await alpine.GET("/v1/sessions", { params: { query: { state: "ready", limit: 10 } } }));
const status = ok(await alpine.GET("/v1/sessions/{session_id}", { params: { path } }));
const sequence: number[] = [];
for (;;) {
  const query = { after: sequence.at(-1) ?? 0, limit: 2 };
  const { events } = ok(await alpine.GET("/v1/sessions/{session_id}/events", { params: { path, query } }));
  if (events.length === 0) break;
  sequence.push(...events.map((event) => event.seq));
}

// docs: begin
const down = { params: { path: { session_id: operation.session_id }, header: { Prefer: "wait=60" } } };
const stopped = ok(await alpine.POST("/v1/sessions/{session_id}/down", down));
// docs: end
if (stopped.state !== "stopped") throw new Error(`it is ${stopped.state}: ${stopped.next_step}`);
const body = { reason: "once more", force: false, retry_persist: false };
const downAgain = ok(await alpine.POST("/v1/sessions/{session_id}/down", { params: { path }, body }));

const live = await alpine.GET("/v1/sessions/{session_id}/events", {
  params: { path },
  headers: { Accept: "text/event-stream" },
  parseAs: "stream",
});
const streamed = await numbers(ok(live));

const record = ok(await alpine.GET("/v1/sessions/{session_id}/record", { params: { path } }));
const text = ok(await alpine.GET("/v1/sessions/{session_id}/record", { params: { path }, parseAs: "text" }));

const noBranch = await alpine.POST("/v1/sessions", {
  params: { header: { "Idempotency-Key": "another-key" } },
  body: { repo_url, branch: "no..branch", public: true },
});
const nobody = await alpine.POST("/v1/sessions/{session_id}/down", { params: { path: { session_id: `ses_${"0".repeat(32)}` } } });

console.log(
  JSON.stringify({
    session_id: ready.session_id,
    operation_ids: [ready.operation_id, replayed.operation_id],
    ready: ready.state,
    commit: ready.target_commit_sha,
    listed: list.sessions.map((session) => session.session_id),
    status: status.state,
    sequence,
    streamed,
    down_operation_ids: [stopped.operation_id, downAgain.operation_id],
    stopped: stopped.state,
    verified: stopped.persistence_verified,
    record_state: record.record.state,
    sha256: record.sha256,
    digest: digestOfRecord(text, record.size_bytes),
    refusals: [refusal(noBranch), refusal(nobody)],
  }),
);
