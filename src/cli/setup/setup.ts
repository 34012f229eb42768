/** What a row of the setup table is: what to paste at a registry, and what that registry then sends. Text and pure functions, no secret. */
import type { OidcConfig } from "../../config.ts";
import type { AuthScheme, Sample, SamplePush } from "../../providers/provider.ts";

export type { Sample, SamplePush };

/** Stands for the secret in what no shell reads; `--show-secret` puts it there. A text for a shell says `$SECRET`, and is told before where to read it. */
export const SECRET = "PASTE-THE-SECRET-HERE";

/** A place where modules lie: `<host>/<path>/<module>`. Both come from the configuration, whose schema lets nothing through that a shell would mind. */
export interface Place {
  readonly host: string;
  readonly path: string;
  /** Globs. */
  readonly modules: readonly string[];
}

/** A webhook as whoever sends to it must know it. */
export interface Hook {
  readonly name: string;
  /** `https://relay.example.com/hooks/<name>`; a secret in the path comes behind it. */
  readonly url: string;
  readonly auth: AuthScheme["kind"];
  readonly username: string | null;
  readonly oidc: OidcConfig | null;
  readonly places: readonly Place[];
}

/** The queue that a webhook's deliveries come from. `url` is an SQS queue's. */
export interface FilledQueue {
  readonly url: string;
  readonly places: readonly Place[];
}

/** `sh`: into a shell. `file`: into a configuration file. `steps`: for a person at a page of settings. */
export interface Paste {
  readonly kind: "sh" | "file" | "steps";
  readonly where: string;
  readonly text: string;
  /** The registry that the text calls, with an administrator's credentials: those must not go to another. */
  readonly at?: string;
}

export interface RegistrySetup {
  /** How far this was tried, in a sentence. */
  readonly checked: string;
  /** Whose hosts are known: only sources there count, where there are any. */
  readonly hosts?: RegExp;
  /** The best way first, others behind it. */
  paste(hook: Hook): readonly Paste[];
  /** Where the webhook has a queue. Left out: {@link anyQueue}. */
  pasteQueue?(queue: FilledQueue): readonly Paste[];
  /** Left out: `send` cannot make up a delivery. */
  readonly sample?: (push: SamplePush) => Sample;
}

export const MANIFEST = "application/vnd.oci.image.manifest.v1+json";

/** For senders of no particular make. */
export function anyQueue({ url }: FilledQueue): Paste[] {
  const text = lines(
    `Queue    ${url}`,
    "Message  the body of each delivery as it is, without an envelope around it",
    "Policy   sqs:SendMessage for this sender and nobody else: whoever may send to the queue is let in",
    "Relay    sqs:ReceiveMessage, sqs:DeleteMessage, sqs:ChangeMessageVisibility",
  );
  return [{ kind: "steps", where: "whatever writes into the queue", text }];
}

export function lines(...each: readonly string[]): string {
  return each.join("\n");
}

/** A body for `curl -d @-`: neither in the list of processes nor in the shell's history, and no quoting to get wrong. */
export function jsonDocument(value: unknown): string {
  return `<<JSON\n${JSON.stringify(value, null, 2)}\nJSON`;
}

/** The paths of the places by host, each once, cut to their first `depth` segments. */
export function byHost(places: readonly Place[], depth: number): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const { host, path } of places) {
    const paths = found.get(host) ?? [];
    const cut = path.split("/").slice(0, depth).join("/");
    if (!paths.includes(cut)) paths.push(cut);
    found.set(host, paths);
  }
  return found;
}

/** The URL as the sender needs it: with the secret behind it where it proves itself by the path. */
export const urlOf = ({ url, auth }: Pick<Hook, "url" | "auth">, secret: string) => (auth === "url" ? `${url}/${secret}` : url);
