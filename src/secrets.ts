/** Secrets by reference: read at run time, kept, and read again when their file changes, so that a rotation needs no restart. */
import { readFile, stat } from "node:fs/promises";
import type { SecretRef } from "./config.ts";
import { RelayError, toRelayError } from "./outcome.ts";

/** How long a file is believed before it is looked at again; a rotated secret counts at the latest after it. */
const BELIEVED_MS = 1000;
/** The same for a parameter, which costs a request over the network. */
const PARAMETER_BELIEVED_MS = 60_000;
/** So long one is believed whose store does not answer: its outage must not stop pushes, nor keep a secret alive that was taken away. */
const PARAMETER_KEPT_MS = 3_600_000;

/**
 * All secrets are looked at anew from the same instants on, not each so long after its own last look: else the new secret would be there and
 * its predecessor, which went into `previousSecret` before, not yet, and whoever still uses that one is refused.
 */
const isBelieved = (lookedAt: number, at: number, ms: number) => Math.floor(lookedAt / ms) === Math.floor(at / ms);

export type SecretReader = (ref: SecretRef) => Promise<string>;

/** null: there is none of that name. Throws an Error whose message says why in a word. */
export type ReadParameter = (name: string) => Promise<string | null>;
interface Options {
  env?: NodeJS.ProcessEnv;
  now?: () => Date;
  readParameter?: ReadParameter;
}

/**
 * Reads `env:`, `file:` and `ssm:` references; a trailing line break of a file or parameter is no part of the secret.
 * Throws RelayError INTERNAL that names the reference and never a value; an empty secret is an error, since anything empty would match it.
 */
export function createSecretReader({ env = process.env, now = () => new Date(), readParameter = fromSsm }: Options = {}): SecretReader {
  const files = new Map<string, { version: string; value: string; lookedAt: number }>();
  const parameters = new Map<string, { value: string; readAt: number; askedAt: number }>();
  /** Whoever calls, also before anybody knows who it is, waits for the same answer: such stores count requests. */
  const asking = new Map<string, Promise<string>>();
  return async (ref) => {
    const value = await valueOf(ref);
    return value === "" ? fail(ref, "is empty") : value;
  };

  function valueOf(ref: SecretRef): string | Promise<string> {
    if (ref.kind === "env") return env[ref.name] ?? fail(ref, "is not set");
    if (ref.kind === "file") return fromFile(ref.path);
    const asked = asking.get(ref.name) ?? fromParameter(ref).finally(() => asking.delete(ref.name));
    asking.set(ref.name, asked);
    return asked;
  }

  async function fromParameter(ref: Extract<SecretRef, { kind: "ssm" }>): Promise<string> {
    const at = now().getTime();
    const known = parameters.get(ref.name);
    if (known && isBelieved(known.askedAt, at, PARAMETER_BELIEVED_MS)) return known.value;
    let value: string | null;
    try {
      value = await readParameter(ref.name);
    } catch (error) {
      if (!known || Math.abs(at - known.readAt) >= PARAMETER_KEPT_MS) {
        return fail(ref, `cannot be read (${error instanceof Error ? error.message : "error"})`);
      }
      parameters.set(ref.name, { ...known, askedAt: at }); // not each delivery waits for a store that does not answer
      return known.value;
    }
    parameters.delete(ref.name);
    if (value === null) return fail(ref, "is not there");
    const secret = withoutLineBreak(value);
    parameters.set(ref.name, { value: secret, readAt: at, askedAt: at });
    return secret;
  }

  async function fromFile(path: string): Promise<string> {
    const at = now().getTime();
    const known = files.get(path);
    if (known && isBelieved(known.lookedAt, at, BELIEVED_MS)) return known.value;
    try {
      // The kubelet changes a mounted secret by switching a link, so time alone would not tell:
      // https://kubernetes.io/docs/concepts/configuration/secret/#mounted-secrets-are-updated-automatically
      const { mtimeMs, size, ino } = await stat(path);
      const version = `${mtimeMs} ${size} ${ino}`;
      const value = known?.version === version ? known.value : withoutLineBreak(await readFile(path, "utf8"));
      files.set(path, { version, value, lookedAt: at });
      return value;
    } catch (error) {
      files.delete(path);
      return fail({ kind: "file", path }, `cannot be read (${error instanceof Error && "code" in error ? String(error.code) : "error"})`);
    }
  }
}

const withoutLineBreak = (text: string) => text.replace(/\r?\n$/, "");

/** Loaded with the first such reference: most relays have none. */
const fromSsm: ReadParameter = async (name) => (await import("./ssm.ts")).parameterOf(name);

/** Of these two both count, until the previous one ends (RFC 3339 instant; null: until it is taken out). */
export interface SecretPair {
  readonly current: SecretRef;
  readonly previous: SecretRef | null;
  readonly previousUntil: string | null;
}

/** `onMissing` is told why the previous one cannot be read: it was taken away before the configuration was, and whoever has the new one must not suffer for it. */
export async function readPair(
  { current, previous, previousUntil }: SecretPair,
  readSecret: SecretReader,
  now: Date,
  onMissing: (why: string) => void,
): Promise<{ current: string; previous: string | null }> {
  const isOver = previousUntil !== null && now.getTime() >= Date.parse(previousUntil);
  const withoutIt = (thrown: unknown) => {
    onMissing(toRelayError(thrown).message);
    return null;
  };
  return { current: await readSecret(current), previous: previous && !isOver ? await readSecret(previous).catch(withoutIt) : null };
}

/** `env:NAME`, `file:PATH` or `ssm:NAME`, as it stands in a configuration. */
export function refText(ref: SecretRef): string {
  return ref.kind === "file" ? `file:${ref.path}` : `${ref.kind}:${ref.name}`;
}

function fail(ref: SecretRef, why: string): never {
  throw new RelayError("INTERNAL", `the secret ${refText(ref)} ${why}`);
}
