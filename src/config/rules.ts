/**
 * Rules between the fields of a configuration. They read a sketch of the file that never fails, so that they speak
 * even where the schema has found problems too: every problem is told at once.
 */
import * as z from "zod";
import { providerNames, providers } from "../providers/index.ts";
import { schemeOf } from "../providers/provider.ts";
import { readRepo } from "./forms.ts";
import { hubRules, lentSketch } from "./hub.ts";
import { oidcRules, oidcSketch } from "./oidc.ts";
import { isGiven, pathText, type Problem, suggestion, type Tell } from "./problem.ts";
import { queueRules } from "./queues.ts";
import { rotationRules } from "./rotation.ts";

const word = z.string().nullish().catch(null);
const words = z.array(z.string().catch("")).nullish().catch(null);
const given = z.unknown().optional();
const webhook = z.object({
  provider: word,
  auth: word,
  secret: given,
  previousSecret: given,
  previousSecretUntil: word,
  sources: words,
  insecure: given,
  oidc: oidcSketch,
  username: given,
  maxBody: given,
  queue: given,
  region: given,
  endpoint: given,
});
const source = z.object({ repo: word, name: word, aliases: words, clusters: words, rescan: given });
const cluster = lentSketch.extend({ queue: word, deadLetters: word });
const sketch = z.object({
  webhooks: z.record(z.string(), webhook.catch({})).catch({}),
  sources: z.array(source.catch({})).catch([]),
  clusters: z.record(z.string(), cluster.catch({})).catch({}),
  unparsed: given,
  hub: given,
});
export type Sketch = z.infer<typeof sketch>;

export function rulesOf(raw: unknown, now: Date): { problems: Problem[]; warnings: Problem[] } {
  const problems: Problem[] = [];
  const warnings: Problem[] = [];
  const file = sketch.safeParse(raw);
  if (!file.success) return { problems, warnings };
  const into =
    (list: Problem[]): Tell =>
    (path, message, hint = null) =>
      list.push({ path: pathText(path), message, hint });
  const problem = into(problems);
  for (const [name, each] of Object.entries(file.data.webhooks)) {
    providerRules(name, each, problem);
    const row = providers[each.provider ?? ""];
    placeRules(name, each, problem);
    if (isGiven(each.queue)) fromQueue(name, each, problem);
    else if (isGiven(each.oidc) || (row && schemeOf(row, each.auth ?? null)?.kind === "oidc"))
      oidcRules(["webhooks", name], each, row, problem);
    else secretRules(name, each, now, problem, into(warnings));
    narrowing(name, each, file.data, problem);
  }
  sourceRules(file.data, problem);
  queueRules(file.data, problem);
  hubRules(file.data, now, { problem, warn: into(warnings) });
  return { problems, warnings };
}

function providerRules(name: string, { provider, auth }: Sketch["webhooks"][string], problem: Tell): void {
  const path = ["webhooks", name];
  if (typeof provider !== "string") return;
  const known = providerNames.toSorted();
  const row = providers[provider];
  if (!row) return problem([...path, "provider"], `unknown provider "${provider.slice(0, 60)}"; known: ${known.join(", ")}`);
  const kinds = row.auth.map((scheme) => scheme.kind);
  if (typeof auth !== "string" || kinds.some((kind) => kind === auth)) return;
  problem([...path, "auth"], `${provider} does not authenticate in this way`, `known: ${kinds.join(", ")}; the first is the default`);
}

function placeRules(name: string, each: Sketch["webhooks"][string], problem: Tell): void {
  for (const key of ["region", "endpoint"] as const)
    if (isGiven(each[key]) && !isGiven(each.queue))
      problem(["webhooks", name, key], "there is no queue that it could be of", "take it out, or write queue:");
}

/** Nothing of a message proves who sent it, and nothing of it comes by HTTP: what is about either would only seem to protect. */
function fromQueue(name: string, each: Sketch["webhooks"][string], problem: Tell): void {
  const idle = ["auth", "secret", "previousSecret", "previousSecretUntil", "username", "insecure", "oidc", "maxBody"] as const;
  for (const key of idle) {
    if (!isGiven(each[key]) || each[key] === false) continue;
    problem(
      ["webhooks", name, key],
      "has no meaning for deliveries from a queue",
      "take it out: whoever may send to the queue is let in, and the queue's own policy says who",
    );
  }
}

function secretRules(name: string, each: Sketch["webhooks"][string], now: Date, problem: Tell, warn: Tell): void {
  const path = ["webhooks", name];
  const hasSecret = isGiven(each.secret);
  const insecure = each.insecure === true;
  if (!hasSecret && !insecure) {
    problem(
      [...path, "secret"],
      "a webhook needs a secret",
      "write secret: env:NAME or secret: file:PATH (or, for tests only, insecure: true)",
    );
  }
  if (hasSecret && insecure)
    problem([...path, "insecure"], "there is a secret, and insecure: true says there is none", "take one of them out");
  if (insecure && !hasSecret) warn([...path, "insecure"], "anybody who reaches this webhook can nudge overrides", "give it a secret");
  const given = { current: each.secret, previous: each.previousSecret, until: each.previousSecretUntil };
  rotationRules(path, ROTATION, given, now, { problem, warn });
}
const ROTATION = { current: "secret", previous: "previousSecret", until: "previousSecretUntil" };

function narrowing(name: string, each: Sketch["webhooks"][string], { sources }: Sketch, problem: Tell): void {
  const known = sources.flatMap(({ name: own, repo }) => [own, repo]).filter((text) => typeof text === "string");
  if (each.sources?.length === 0) {
    problem(
      ["webhooks", name, "sources"],
      "names no source, so no push of this webhook could match",
      "leave it out for all sources, or name some",
    );
  }
  for (const [index, wanted] of (each.sources ?? []).entries()) {
    const repo = readRepo(wanted);
    const isKnown = known.includes(wanted) || (typeof repo === "string" && known.some((text) => readRepo(text) === repo));
    if (!isKnown) problem(["webhooks", name, "sources", index], "no source has this name or repo", suggestion(wanted, known));
  }
}

function sourceRules({ webhooks, sources, clusters }: Sketch, problem: Tell): void {
  if (Object.keys(webhooks).length > 0 && sources.length === 0) {
    problem(
      ["sources"],
      "there are webhooks and no source: no push could match",
      "write sources: [{ repo: host/path }], the ModuleSource's spec.registry.repo",
    );
  }
  const names = Object.keys(clusters);
  const places = new Map<string, string>();
  const taken = new Set<string>();
  for (const [index, each] of sources.entries()) {
    const path = ["sources", index];
    for (const [unknown, wanted] of (each.clusters ?? []).entries()) {
      if (!names.includes(wanted)) problem([...path, "clusters", unknown], "no cluster has this name", suggestion(wanted, names));
    }
    if (each.rescan === true && typeof each.name !== "string")
      problem(
        [...path, "name"],
        "is needed for rescan: it is the ModuleSource that is scanned",
        "kubectl get modulesources shows the names",
      );
    const repos = [
      { at: [...path, "repo"], text: each.repo },
      ...(each.aliases ?? []).map((text, alias) => ({ at: [...path, "aliases", alias], text })),
    ];
    for (const { at, text } of repos) {
      const repo = typeof text === "string" ? readRepo(text) : null;
      if (typeof repo !== "string") continue;
      const first = places.get(repo);
      if (first !== undefined) problem(at, `the same repository as ${first}`, "one place has one source; use its clusters and modules");
      else places.set(repo, pathText(at));
    }
    if (typeof each.name === "string" && taken.has(each.name)) problem([...path, "name"], "another source has this name", null);
    if (typeof each.name === "string") taken.add(each.name);
  }
}
