/** `mpo-relay send` for a webhook with a queue: the registry's part is to put the body into it. */
import { imageOf, toAscii } from "../event.ts";
import type { RelayConfig, SqsForm } from "../config.ts";
import { openWebhookQueue } from "../queues.ts";
import { understand } from "../receive.ts";
import { queueUrl } from "./deliver.ts";
import { type KnownHook, sampleOf } from "./hook.ts";
import type { SamplePush } from "./setup/setup.ts";
import { Failure, messageOf, type Terminal } from "./terminal.ts";

/** Says which key the relay will tell of it by; whether it was taken is in the relay's log alone. */
export async function sendToQueue(
  hook: KnownHook,
  form: SqsForm,
  push: SamplePush,
  config: RelayConfig,
  { url: relay, json }: { url?: string; json?: true },
  terminal: Terminal,
): Promise<void> {
  const { name, webhook, title } = hook;
  const url = queueUrl(name, form, relay, terminal.env);
  const body = toAscii(JSON.stringify(sampleOf(hook, push).body));
  const { events, requests } = understand({ webhook: name, headers: {}, body: Buffer.from(body) }, webhook, config, terminal.now());
  if (events.length === 0)
    throw new Failure(2, `${title} tells a part of its pushes in headers, and a queue carries none`, "let it call the relay by HTTP");
  await put(form, body, terminal.env);
  const image = imageOf({ ...push, digest: push.digest ?? null });
  const key = requests[0]?.key ?? null;
  if (json) {
    const said = { status: null, decision: "sent", reason: null, key, hint: null };
    return terminal.out(JSON.stringify({ webhook: name, image, digest: push.digest ?? null, ...said }));
  }
  terminal.out(`to ${url}, as ${title} tells it\n  push  ${image}${push.digest === undefined ? "" : ` ${push.digest}`}`);
  terminal.out(`sent${key === null ? "" : `, key ${key}`}`);
  terminal.out("next: look for it in the log of `mpo-relay serve`: QUEUED, then what the cluster's consumer makes of it");
}

async function put(form: SqsForm, body: string, env: NodeJS.ProcessEnv): Promise<void> {
  try {
    const queue = await openWebhookQueue(form, env);
    try {
      await queue.send([{ body }]);
    } finally {
      await queue.close();
    }
  } catch (error) {
    throw new Failure(1, messageOf(error), "is it there, and may this process send to it (sqs:SendMessage)?");
  }
}
