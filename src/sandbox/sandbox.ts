/**
 * What `npm start` brings up, in one process on loopback: the relay itself (edge, embedded queue, consumer, from the relay.yaml that it
 * writes), and stand-ins for what stands around it: a registry, a Kubernetes API and a Deckhouse.
 */
import { createWriteStream, type WriteStream, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { loadConfig } from "../config.ts";
import { logTo, toAll } from "../observe.ts";
import { startRelay } from "../relay.ts";
import { kubernetesPort } from "./deckhouse-kubernetes.ts";
import { type EraName, eraOf } from "./deckhouse-eras.ts";
import { startSources } from "./deckhouse-sources.ts";
import { startDeckhouse } from "./deckhouse.ts";
import { CHANNEL, createExample, firstLook, MODULE, policyOf, seedRegistry, SOURCE_PATH, TAG } from "./example.ts";
import { leaveFolder, markFolder, takeFolder, writeKubeconfig, writeRelayConfig, writeSecret } from "./folder.ts";
import { startKubernetesApi } from "./kubernetes-api.ts";
import { forwardFromIpv6, reservePort } from "./loopback.ts";
import { pushImage, resolveDigest } from "./registry-client.ts";
import { releaseRegistry } from "./registry-release.ts";
import { startRegistry } from "./registry.ts";
import { type AlarmNews, type PushNews, timeline } from "./timeline.ts";

/** Another port than the usual one, which was taken. */
interface MovedNews {
  readonly event: "moved";
  readonly what: "registry" | "relay";
  readonly wanted: number;
  readonly port: number;
}
/**
 * Where everything is. `image` is the reference whose pushes renew the example's override, `channel` the release channel that its other
 * module follows; paths are relative to the working directory.
 */
export interface ReadyNews {
  readonly event: "ready";
  readonly pid: number;
  readonly registry: string;
  readonly relay: string;
  readonly kubernetes: string;
  readonly kubeconfig: string;
  readonly config: string;
  /** The releases of Deckhouse that its stand-in behaves like. */
  readonly deckhouse: string;
  readonly delivery: string;
  readonly image: string;
  readonly channel: string;
}
export type News = MovedNews | ReadyNews | PushNews | AlarmNews;

export interface SandboxOptions {
  /** Emptied at start, kept after stop. */
  readonly folder: string;
  /** 0: a free one. */
  readonly ports: { readonly registry: number; readonly relay: number };
  readonly era: EraName;
  readonly tell: (news: News) => void;
}
export interface Sandbox {
  readonly ready: ReadyNews;
  /** Pushes a new image of the example's override to the registry; gives its digest. */
  push(): Promise<string>;
  /** What the override's status says, for people. */
  status(): string;
  stop(): Promise<void>;
}

const DEPLOY_MS = 150;
const RESTART_MS = 150;

/** Throws an Error that says what to do where something cannot start; nothing is left running then. */
export async function startSandbox({ folder, ports, era, tell }: SandboxOptions): Promise<Sandbox> {
  await takeFolder(folder);
  const stops: (() => Promise<void> | void)[] = [];
  const stop = async () => {
    for (const each of stops.splice(0).toReversed()) await each();
  };
  try {
    return await bringUp({ folder, ports, era, tell }, stops, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

async function bringUp(
  { folder, ports, era, tell }: SandboxOptions,
  stops: (() => Promise<void> | void)[],
  stop: () => Promise<void>,
): Promise<Sandbox> {
  const standIns = logFile(join(folder, "stand-ins.log"), stops);
  const relayLog = logFile(join(folder, "relay.log"), stops);
  const log = (line: string) => void standIns.write(`${new Date().toISOString()} ${line}\n`);
  const delivery = join(folder, "delivery.json");

  const edge = await reservePort(ports.relay);
  stops.push(edge.close);
  const token = await writeSecret(folder);
  const sent = (body: string) => {
    if (/"action":"push".*"tag":/.test(body)) writeFileSync(delivery, body);
  };
  const registry = await startRegistry({
    port: ports.registry,
    notify: { url: `http://127.0.0.1:${edge.port}/hooks/sandbox`, token, sent },
    seed: seedRegistry,
    log,
  });
  stops.push(() => registry.close());
  await markFolder(folder, registry.port);
  stops.push(() => leaveFolder(folder));
  if (registry.moved) tell({ event: "moved", what: "registry", wanted: ports.registry, port: registry.port });
  if (edge.moved) tell({ event: "moved", what: "relay", wanted: ports.relay, port: edge.port });

  const repo = `localhost:${registry.port}/${SOURCE_PATH}`;
  const { served, sourcesHaveInterval, releases } = eraOf(era);
  const api = await startKubernetesApi({ token: crypto.randomUUID(), served });
  stops.push(() => api.close());
  api.setScannable(sourcesHaveInterval);
  createExample(api.store, repo, era);
  const kubeconfig = await writeKubeconfig(folder, api.kubeconfig());

  const access = { server: api.url, ca: api.ca, token: api.systemToken };
  const kube = kubernetesPort(access);
  stops.push(() => kube.close());
  const deckhouse = startDeckhouse({ era, kube, resolveDigest, deployMs: DEPLOY_MS, restartMs: RESTART_MS, log });
  stops.push(() => deckhouse.stop());
  const overrides = served[0] ?? "v1alpha2";
  const deckhouseSources = startSources({ kube: access, overrides, registry: releaseRegistry, policyOf, log });
  stops.push(() => deckhouseSources.stop());
  await firstLook(api.store);

  const file = await writeRelayConfig(folder, { repo, port: edge.port });
  const loaded = await loadConfig({ file });
  if (!loaded.ok) throw new Error(`${file}: ${loaded.problems.map(({ path, message }) => `${path}: ${message}`).join("; ")}`);
  await edge.close();
  const relay = await startRelay({ config: loaded.config, observer: toAll(logTo(relayLog), timeline(tell)) });
  stops.push(() => relay.stop());
  stops.push(await forwardFromIpv6(edge.port));

  const here = (path: string) => relative(process.cwd(), path) || ".";
  const ready: ReadyNews = {
    event: "ready",
    pid: process.pid,
    registry: `localhost:${registry.port}`,
    relay: `http://localhost:${edge.port}`,
    kubernetes: api.url,
    kubeconfig: here(kubeconfig),
    config: here(file),
    deckhouse: releases,
    delivery: here(delivery),
    image: `${repo}/${MODULE}:${TAG}`,
    channel: `${repo}/${CHANNEL.module}/release:${CHANNEL.name}`,
  };
  tell(ready);
  return {
    ready,
    push: () => pushImage(registry.url, `${SOURCE_PATH}/${MODULE}`, TAG),
    status: () => JSON.stringify(api.store.get("modulepulloverrides", MODULE)?.status ?? {}),
    stop,
  };
}

function logFile(path: string, stops: (() => Promise<void> | void)[]): WriteStream {
  const file = createWriteStream(path, { mode: 0o600 });
  stops.push(() => new Promise<void>((resolve) => file.end(() => resolve())));
  return file;
}
