/** The sandbox's news for people: where everything is, the first push as a table, then one line per push. */
import { relative } from "node:path";
import type { News, ReadyNews } from "../sandbox/sandbox.ts";
import type { PushNews } from "../sandbox/timeline.ts";
import { oneLine } from "./terminal.ts";

/** Gives the text of each news in turn; null for steps on the way that need none. */
export function sandboxText({ staysUp }: { staysUp: boolean }): (news: News) => string | null {
  let ready: ReadyNews | null = null;
  let isFirst = true;
  return (news) => {
    if (news.event === "moved") return `port ${news.wanted} is taken: the ${news.what} listens on ${news.port} instead`;
    if (news.event === "alarm") return `${clock()}  alarm ${news.alarm}: ${oneLine(news.why ?? news.what)}`;
    if (news.event === "ready") {
      ready = news;
      return started(news);
    }
    if (news.outcome === "QUEUED" || news.outcome === "NUDGED") return null;
    if (!isFirst || news.outcome !== "PICKED_UP") return pushLine(news);
    isFirst = false;
    return [table(news), ...(staysUp && ready !== null ? [next(ready)] : [])].join("\n");
  };
}

function started({ registry, relay, kubernetes, kubeconfig, config, deckhouse }: ReadyNews): string {
  return `
mpo-relay sandbox: the relay is the real one; registry, Kubernetes API and Deckhouse are stand-ins

  registry        ${registry}
  relay           ${relay}   its configuration: ${config}
  Kubernetes API  ${kubernetes}   its kubeconfig: ${kubeconfig}
  Deckhouse       as ${deckhouse}
`;
}

function table(news: PushNews): string {
  const { receivedMs, queuedMs, nudgedMs, pickedUpMs, polling } = news;
  const work = (pickedUpMs ?? 0) - (nudgedMs ?? 0);
  const rows: (readonly [string, ...(number | undefined)[]])[] = [
    ["received", receivedMs],
    ["queued", queuedMs],
    ["nudged", nudgedMs, polling && polling.meanMs - work, polling && polling.maxMs - work],
    ["picked up", pickedUpMs, polling?.meanMs, polling?.maxMs],
  ];
  const cell = (ms: number | undefined) => (ms === undefined ? "" : `${ms.toLocaleString("en-US")} ms`).padStart(12);
  return `first push: ${news.image}
            ${news.digest ?? ""}

              since push   polling every 15 s: on average     at most
${rows.map(([name, ms, mean, max]) => `  ${name.padEnd(10)}${cell(ms)}${"".padEnd(22)}${cell(mean)}${cell(max)}`.trimEnd()).join("\n")}
`;
}

function next({ relay: relayUrl, image, channel, kubeconfig, config, delivery }: ReadyNews): string {
  const relay = `node ${relative(process.cwd(), process.argv[1] ?? "dist/cli.js")}`;
  return `try next, in another terminal:

  watch the override
    kubectl --kubeconfig ${kubeconfig} get mpo -w

  push something new (whichever of these you have)
    date > /tmp/now; tar -C /tmp -cf /tmp/now.tar now; crane append -f /tmp/now.tar -t ${image}
    skopeo copy --dest-tls-verify=false docker-daemon:YOUR-IMAGE docker://${image}
    docker tag YOUR-IMAGE ${image} && docker push ${image}

  move a release channel: Deckhouse scans its source at once with --era e4 or e5, and else within three minutes
    echo '{"version":"v1.1.0"}' > /tmp/version.json; tar -C /tmp -cf /tmp/release.tar version.json; crane append -f /tmp/release.tar -t ${channel}
    kubectl --kubeconfig ${kubeconfig} get modulereleases

  ask the relay, in this folder
    export MPO_RELAY_CONFIG=${config}
    ${relay} history
    ${relay} source test echo
    ${relay} sweep --dry-run
    ${relay} send sandbox --url ${relayUrl}
    ${relay} explain --webhook sandbox --body ${delivery} --no-auth
    ${relay} dlq list

waiting for pushes; Ctrl-C ends everything
`;
}

/** What a person pushes by mistake, or to a channel, in plain words; other outcomes stand as they are. */
const PHRASES: Readonly<Record<string, string>> = {
  NOT_OVERRIDDEN: "skipped: no ModulePullOverride has this name",
  TAG_DIFFERS: "skipped: the override follows another tag",
  OTHER_REPOSITORY: "skipped: not below the module source's repository",
  NOISE_TAG: "skipped: a tag of build tools",
  UNKNOWN_HOST: "skipped: another host than the module source's",
  JOINED: "covered by a newer push's nudge",
  RESCANNED: "Deckhouse scans the module source",
  RESCAN_UNSUPPORTED: "this Deckhouse scans the module source by itself alone",
  RELEASE_DEPLOYED: "a release came of it, and Deckhouse runs it",
  SUPERSEDED: "a newer push or another tag took over",
};

function pushLine({ outcome, image, digest, why, receivedMs, queuedMs, nudgedMs, pickedUpMs }: PushNews): string {
  const what = `${clock()}  ${image}${digest === null ? "" : ` ${digest.slice(0, 19)}`}`;
  if (outcome !== "PICKED_UP") return `${what}  ${PHRASES[outcome] ?? outcome}${why ? `: ${oneLine(why)}` : ""}`;
  return `${what}  picked up after ${pickedUpMs} ms (received ${receivedMs}, queued ${queuedMs}, nudged ${nudgedMs})`;
}

function clock(): string {
  return new Date().toTimeString().slice(0, 8);
}
