// The job engines that the bench measures next to the ledger, each as its own documentation says that it is fast.
//
// Arguments: the folder that holds node_modules, and one JSON object: { engine, url, act, … }. Acts:
//   prepare                      make its schema, and what a first use makes
//   latency { samples, atOnce, pause: [least, most] ms, apart }
//                                enqueue, each note the time before; the handler notes its own. `apart`: in another process
//   listen                       the other process of that
//   enqueue { seconds }          one by one, as requests come, on as many connections as there are
//   fill { jobs }                many at once
//   work { each }                work through all there are; `each`: every job is fetched and finished by itself
// Prints one line of JSON, { jobs, seconds } or { latencies } in milliseconds, and ends; after two minutes in any case.
import { fork } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';

const [tools, options] = [process.argv[2], JSON.parse(process.argv[3])];
const load = (file) => import(pathToFileURL(join(tools, 'node_modules', file)));
const CONNECTIONS = 24;
// pg-boss notifies for the first only, and is faster at adding to the other; graphile-worker always notifies.
const [PROMPT, BULK] = ['prompt', 'bulk'];

setTimeout(() => {
  console.error('not done in time');
  process.exit(1);
}, 120_000).unref();
// The parent of a listener is gone, or wants no more.
process.on('disconnect', () => process.exit(0));

const now = () => performance.timeOrigin + performance.now();

async function graphileWorker() {
  const { Logger, makeWorkerUtils, run, WorkerPreset } = await load('graphile-worker/dist/index.js');
  const pg = (await load('pg/lib/index.js')).default;
  const pool = new pg.Pool({ connectionString: options.url, max: CONNECTIONS + 1 });
  pool.on('error', (error) => console.error(error));
  pool.on('connect', (client) => client.on('error', (error) => console.error(error)));
  const quiet = new Logger(() => () => {});
  const utils = await makeWorkerUtils({ pgPool: pool, logger: quiet });
  return {
    migrate: () => utils.migrate(),
    add: (queue, payload) => utils.addJob(queue, payload),
    fill: (queue, payloads) => utils.addJobs(payloads.map((payload) => ({ identifier: queue, payload }))),
    // A job that is done is deleted.
    left: async () => Number((await pool.query('SELECT count(*) FROM graphile_worker.jobs')).rows[0].count),
    work: (queue, handler, { each, prompt }) =>
      run({
        preset: {
          extends: [WorkerPreset],
          worker: {
            // The settings of its "Performance" page. They fetch 500 at a time and finish together what is done at one time; a
            // start that is to be prompt is better without: then NOTIFY wakes a worker, which fetches its one job.
            concurrentJobs: CONNECTIONS,
            ...(each || prompt ? {} : { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 }),
            logger: quiet,
          },
        },
        pgPool: pool,
        noHandleSignals: true,
        taskList: { [queue]: handler },
      }).then((runner) => ({ wake: () => {}, stop: () => runner.stop() })),
    close: async () => {
      await utils.release();
      await pool.end();
    },
  };
}

async function pgBoss() {
  const { PgBoss } = await load('pg-boss/dist/index.js');
  const boss = new PgBoss({
    connectionString: options.url,
    max: CONNECTIONS,
    schedule: false,
    supervise: false,
    useListenNotify: true,
  });
  boss.on('error', (error) => console.error(error));
  await boss.start();
  return {
    migrate: async () => {
      await boss.createQueue(PROMPT, { notify: true });
      await boss.createQueue(BULK);
    },
    add: (queue, payload) => boss.send(queue, payload),
    fill: (queue, payloads) => boss.insert(queue, payloads.map((data) => ({ data }))),
    left: async () => {
      const sql = `SELECT count(*) FROM pgboss.job WHERE state < 'completed'`;
      return Number((await boss.getDb().executeSql(sql)).rows[0].count);
    },
    work: async (queue, handler, { each, prompt }) => {
      // `burstWhenBatchFull` fetches again at once for as long as batches come full; of one job it has no effect, so that two is
      // the least. A start that is to be prompt: one job for each of few workers, which NOTIFY wakes, and in the same process the
      // sender does.
      const batch = each ? { batchSize: 2, localConcurrency: CONNECTIONS } : { batchSize: 500, localConcurrency: 2 };
      const settings = prompt ? { batchSize: 1, localConcurrency: 4 } : { ...batch, burstWhenBatchFull: true };
      const id = await boss.work(queue, { pollingIntervalSeconds: 0.5, ...settings }, async (jobs) => {
        for (const job of jobs) await handler(job.data);
      });
      return { wake: () => boss.notifyWorker(id), stop: () => boss.offWork(queue) };
    },
    close: () => boss.stop({ graceful: false, close: true }),
  };
}

async function enqueue(engine) {
  let jobs = 0;
  const begun = now();
  const lane = async () => {
    while (now() - begun < options.seconds * 1000) await engine.add(BULK, { n: jobs++ });
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, lane));
  return { jobs, seconds: (now() - begun) / 1000 };
}

async function fill(engine) {
  const begun = now();
  for (let from = 0; from < options.jobs; from += 1000) {
    const most = Math.min(1000, options.jobs - from);
    await engine.fill(BULK, Array.from({ length: most }, (_, n) => ({ n: from + n })));
  }
  return { jobs: options.jobs, seconds: (now() - begun) / 1000 };
}

async function work(engine) {
  const jobs = await engine.left();
  let [done, last] = [0, 0];
  const begun = now();
  const worker = await new Promise((resolve, reject) => {
    let started;
    const handler = async () => {
      done += 1;
      if (done < jobs) return;
      last = now();
      started.then(resolve, reject);
    };
    started = engine.work(BULK, handler, { each: options.each });
  });
  await worker.stop();
  // The last one's own end may still be on its way.
  let left = await engine.left();
  for (let tries = 0; left !== 0 && tries < 1500; tries += 1) {
    await sleep(20);
    left = await engine.left();
  }
  if (left !== 0 || done !== jobs) throw new Error(`${done} done of ${jobs}, ${left} left`);
  return { jobs, seconds: (last - begun) / 1000 };
}

async function latency(engine) {
  const [starts, sent] = [new Map(), new Map()];
  const started = (n, at) => starts.has(n) || starts.set(n, at);
  let stop;
  let wake = () => {};
  if (options.apart) {
    const child = fork(fileURLToPath(import.meta.url), [tools, JSON.stringify({ ...options, act: 'listen' })]);
    await new Promise((resolve) => child.once('message', resolve));
    child.on('message', ({ n, at }) => started(n, at));
    stop = () => child.disconnect();
  } else {
    const worker = await engine.work(PROMPT, async ({ n }) => started(n, now()), { prompt: true });
    stop = () => worker.stop();
    wake = worker.wake;
  }
  await sleep(500);
  const [least, most] = options.pause;
  const lane = async () => {
    while (sent.size < options.samples) {
      const n = sent.size;
      sent.set(n, undefined);
      await sleep(least + Math.random() * (most - least));
      sent.set(n, now());
      await engine.add(PROMPT, { n });
      wake();
    }
  };
  await Promise.all(Array.from({ length: options.atOnce }, lane));
  while (starts.size < options.samples) await sleep(10);
  await stop();
  return { latencies: [...sent].map(([n, at]) => starts.get(n) - at) };
}

/** Until the parent lets go. */
async function listen(engine) {
  await engine.work(PROMPT, async ({ n }) => process.send({ n, at: now() }), { prompt: true });
  process.send({});
  await new Promise(() => {});
}

const engine = await { 'graphile-worker': graphileWorker, 'pg-boss': pgBoss }[options.engine]();
const acts = {
  prepare: async () => {
    await engine.migrate();
    return { jobs: 0, seconds: 0 };
  },
  latency,
  listen,
  enqueue,
  fill,
  work,
};
const said = await acts[options.act](engine);
await engine.close();
console.log(JSON.stringify(said));
process.exit(0);
