/** The one schema of the configuration file: the shape of each field. Rules between fields are in rules.ts. */
import * as z from "zod";
import type { HubConfig, KubernetesConfig, QueueForm } from "../config.ts";
import * as forms from "./forms.ts";
import { Refusal, suggestion } from "./problem.ts";

const MIB = 1024 ** 2;
const DEFAULT_LOOKS_MS = [10_000, 30_000, 90_000, 300_000, 900_000, 3_600_000];

/** Relative paths in the file are resolved against `folder`. */
export function relaySchema(folder: string) {
  const secretRef = written((text) => forms.readSecretRef(text, folder));
  const queue = written((text) => forms.readQueue(text, folder));
  const webhook = block({
    provider: text,
    auth: optional(text),
    secret: optional(secretRef),
    previousSecret: optional(secretRef),
    previousSecretUntil: optional(written(forms.readUntil)),
    username: optional(text),
    host: optional(written(forms.readHost)),
    sources: optional(z.array(text).transform((each) => each.flatMap(asWritten))),
    maxBody: optional(bytes),
    insecure: z.boolean().default(false),
    oidc: optional(oidc(folder)),
    queue: optional(written((at) => forms.readSqsQueue(at, folder))),
    region: optional(text),
    endpoint: optional(written(forms.readUrl)),
  }).transform(({ region, endpoint, ...rest }) => ({ ...rest, queue: rest.queue && { ...rest.queue, region, endpoint } }));
  const source = block({
    repo,
    name: optional(text.max(253, "is too long")), // as long as an object's name; records hold no longer one
    noise: z.enum(["drop", "keep"]).default("drop"),
    aliases: z.array(repo).default([]),
    modules: z.array(text).min(1, "names no module: leave it out to take all").default(["*"]),
    clusters: optional(z.array(text).min(1, "names no cluster: leave it out to take all")),
    rescan: z.boolean().default(false),
    registry: optional(registryAccess(folder)),
  });
  const cluster = block({
    queue,
    deadLetters: optional(queue),
    region: optional(text),
    endpoint: optional(written(forms.readUrl)),
    kubernetes: optional(kubernetes(folder)),
    events: z.boolean().default(true),
    adopt: optional(written(forms.readInterval)),
    hubToken: optional(secretRef),
    previousHubToken: optional(secretRef),
    previousHubTokenUntil: optional(written(forms.readUntil)),
    hubCa: optional(secretRef),
    uid: optional(written(forms.readUid)),
    lambda: lambda.prefault({}),
  }).transform(({ region, endpoint, hubToken: token, previousHubToken, previousHubTokenUntil, hubCa, ...rest }) => {
    const placed = (form: QueueForm): QueueForm => (form.kind === "sqs" || form.kind === "env" ? { ...form, region, endpoint } : form);
    const hub = token && { token, previousToken: previousHubToken, previousTokenUntil: previousHubTokenUntil, ca: hubCa };
    return { ...rest, hub, queue: placed(rest.queue), deadLetters: rest.deadLetters && placed(rest.deadLetters) };
  });
  return block({
    webhooks: z.record(name, webhook).default({}),
    sources: z.array(source).default([]),
    clusters: z.record(name, cluster).refine((each) => Object.keys(each).length > 0, "there is no cluster"),
    unparsed: optional(queue),
    journal: optional(written((text) => forms.readJournal(text, folder))),
    listen: listenAt(8080),
    admin: optional(listenAt(9090, "127.0.0.1")),
    hub: optional(hub(folder)),
    limits: block({ body: bytes.default(MIB), unparsed: z.int().min(1).default(1000) }).prefault({}),
    tuning: tuning.prefault({}),
  });
}

/** A source's name as it stands, and its repo also in the one spelling that matching knows. */
function asWritten(source: string): string[] {
  const known = forms.readRepo(source);
  return known instanceof Refusal || known === source ? [source] : [source, known];
}

const text = z.string().min(1, "is empty").max(1024, "is too long");
const repo = written(forms.readRepo);
const duration = written(forms.readDuration);
const bytes = z.union([z.int().min(1), written(forms.readSize)], "expected a number of bytes, or a size such as 512KiB");
/** A webhook's or cluster's name is part of a URL, of a queue's name and of a label. */
const name = z
  .string()
  .regex(/^[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/, "a name has letters, digits, - _ . and at most 63 characters");
const port = z.int().min(0).max(65_535);
function listenAt(usual: number, usualHost = "0.0.0.0") {
  const forms = [
    port.transform((each) => ({ host: usualHost, port: each })),
    written((address) => readListen(address, usualHost)),
    block({ host: text.default(usualHost), port: port.default(usual) }),
  ] as const;
  return z.union(forms, "expected a port, host:port, or { host, port }").default({ host: usualHost, port: usual });
}

function readListen(address: string, usualHost: string): { host: string; port: number } | Refusal {
  const [, host, digits] = /^(.*):(\d{1,5})$/.exec(address) ?? [];
  if (digits === undefined || Number(digits) > 65_535) return new Refusal("not an address", "write 8080, 127.0.0.1:8080 or [::1]:8080");
  return { host: (host ?? "").replace(/^\[(.*)\]$/, "$1") || usualHost, port: Number(digits) };
}

const looks = z
  .array(duration)
  .min(1)
  .refine(
    (each) => each.every((ms, index) => index === 0 || ms > (each[index - 1] ?? 0)),
    "the looks must grow, for example [10s, 30s, 90s]",
  );
const tuning = block({
  cooldown: duration.default(5000),
  looks: looks.default(DEFAULT_LOOKS_MS),
  patchesPerSecond: z.number().positive().max(10_000).default(50),
  sweep: written(forms.readSweep).default(300_000),
}).transform(({ cooldown, looks, patchesPerSecond, sweep }) => ({
  cooldownMs: cooldown,
  looksMs: looks,
  patchesPerSecond,
  sweepMs: sweep,
}));

/** https://docs.aws.amazon.com/lambda/latest/api/API_ScalingConfig.html, and ids as EC2 writes them */
const lambda = block({
  maximumConcurrency: z.int().min(2, "Lambda allows no fewer than 2").max(1000).default(2),
  vpc: optional(
    block({
      securityGroupIds: z
        .array(z.string().regex(/^sg-(?:[0-9a-f]{8}|[0-9a-f]{17})$/, "not a security group's id: sg-…"))
        .min(1, "names none"),
      subnetIds: z.array(z.string().regex(/^subnet-(?:[0-9a-f]{8}|[0-9a-f]{17})$/, "not a subnet's id: subnet-…")).min(1, "names none"),
    }),
  ),
});

function registryAccess(folder: string) {
  const secretRef = written((ref) => forms.readSecretRef(ref, folder));
  return block({
    username: optional(text),
    password: optional(secretRef),
    dockerConfig: optional(secretRef),
    ca: optional(secretRef),
    plainHttp: z.boolean().default(false),
  })
    .refine(({ username, password }) => (username === null) === (password === null), "username and password go together")
    .refine(({ username, dockerConfig }) => username === null || dockerConfig === null, "write username and password, or dockerConfig");
}

function hub(folder: string) {
  const secretRef = written((ref) => forms.readSecretRef(ref, folder));
  return block({ listen: listenAt(8443), certificate: optional(secretRef), key: optional(secretRef) }).transform(
    ({ listen, certificate, key }, check): HubConfig => {
      if (certificate && key) return { listen, tls: { certificate, key } };
      if (!certificate && !key && forms.isLoopback(listen.host)) return { listen, tls: null };
      const missing = certificate ? "key" : "certificate";
      const message =
        certificate || key ? "certificate and key go together" : "beyond loopback a hub speaks TLS alone: tokens cross the network";
      const hint = "write certificate: file:PATH and key: file:PATH (infra/hub.md makes them), or listen: 127.0.0.1:8443";
      check.addIssue({ code: "custom", path: [missing], message, params: { hint } });
      return z.NEVER;
    },
  );
}

/** What is mandatory depends on the provider: the rules know. */
function oidc(folder: string) {
  return block({
    issuer: optional(written(forms.readUrl)),
    audience: text,
    email: optional(text),
    subject: z
      .union([text.transform((each) => [each]), z.array(text)], "expected a pattern, or a list of patterns")
      .nullable()
      .transform((each) => each ?? [])
      .default([]),
    keys: optional(written((where) => forms.readKeys(where, folder))),
  });
}

function kubernetes(folder: string) {
  const secretRef = written((ref) => forms.readSecretRef(ref, folder));
  return block({
    inCluster: z.literal(true, "only true has a meaning here; leave it out otherwise").optional(),
    kubeconfig: written((path) => forms.readKubeconfig(path, folder)).optional(),
    context: text.optional(),
    server: written(forms.readServer).optional(),
    ca: secretRef.optional(),
    token: secretRef.optional(),
  }).transform(({ inCluster, kubeconfig, context, server, ca, token }, check): KubernetesConfig => {
    const ways = [inCluster, kubeconfig ?? context, server ?? ca ?? token].filter((way) => way !== undefined);
    if (ways.length === 1 && inCluster) return { kind: "inCluster" };
    if (ways.length === 1 && server !== undefined && token) return { kind: "server", server, ca: ca ?? null, token };
    if (ways.length === 1 && (kubeconfig ?? context))
      return { kind: "kubeconfig", kubeconfig: kubeconfig ?? null, context: context ?? null };
    const message =
      ways.length > 1
        ? "names more than one way to the API server"
        : ways.length === 0
          ? "names no way to the API server"
          : "server and token go together";
    const hint = "write inCluster: true; or kubeconfig: PATH and context: NAME (one of them is enough); or server, ca and token";
    check.addIssue({ code: "custom", message, params: { hint } });
    return z.NEVER;
  });
}

/** An object whose unknown keys are problems; problemsOf() reads one hint per key from the message. */
function block<Shape extends z.ZodRawShape>(shape: Shape) {
  const known = Object.keys(shape);
  return z.strictObject(shape, {
    error: (issue) => (issue.code === "unrecognized_keys" ? issue.keys.map((key) => suggestion(key, known)).join("\n") : undefined),
  });
}

/** Left out, or null, is null. */
function optional<Schema extends z.ZodType>(schema: Schema) {
  return schema.nullable().default(null);
}

/** A text that is read by one of the forms. */
function written<Value>(read: (text: string) => Value | Refusal) {
  return z.string().transform((given, check): Value => {
    const value = read(given);
    if (!(value instanceof Refusal)) return value;
    check.addIssue({ code: "custom", message: value.message, params: { hint: value.hint } });
    return z.NEVER;
  });
}
