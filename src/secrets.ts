/** Secrets by reference: read at run time, kept, and read again when their file changes, so that a rotation needs no restart. */
import { readFile, stat } from "node:fs/promises";
import type { SecretRef } from "./config.ts";
import { RelayError, toRelayError } from "./outcome.ts";

/** How long a file is believed before it is looked at again; a rotated secret counts at the latest after it. */
const BELIEVED_MS = 1000;

export type SecretReader = (ref: SecretRef) => Promise<string>;

/**
 * Reads `env:` and `file:` references; a file's trailing line break is no part of the secret.
 * Throws RelayError INTERNAL that names the reference and never a value; an empty secret is an error, since anything empty would match it.
 */
export function createSecretReader({
  env = process.env,
  now = () => new Date(),
}: { env?: NodeJS.ProcessEnv; now?: () => Date } = {}): SecretReader {
  const files = new Map<string, { version: string; value: string; lookedAt: number }>();
  return async (ref) => {
    const value = ref.kind === "env" ? (env[ref.name] ?? fail(ref, "is not set")) : await fromFile(ref.path);
    return value === "" ? fail(ref, "is empty") : value;
  };

  async function fromFile(path: string): Promise<string> {
    const at = now().getTime();
    const known = files.get(path);
    if (known && Math.abs(at - known.lookedAt) < BELIEVED_MS) return known.value;
    try {
      // The kubelet changes a mounted secret by switching a link, so time alone would not tell:
      // https://kubernetes.io/docs/concepts/configuration/secret/#mounted-secrets-are-updated-automatically
      const { mtimeMs, size, ino } = await stat(path);
      const version = `${mtimeMs} ${size} ${ino}`;
      const value = known?.version === version ? known.value : (await readFile(path, "utf8")).replace(/\r?\n$/, "");
      files.set(path, { version, value, lookedAt: at });
      return value;
    } catch (error) {
      files.delete(path);
      return fail({ kind: "file", path }, `cannot be read (${error instanceof Error && "code" in error ? String(error.code) : "error"})`);
    }
  }
}

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

/** `env:NAME` or `file:PATH`, as it stands in a configuration. */
export function refText(ref: SecretRef): string {
  return ref.kind === "env" ? `env:${ref.name}` : `file:${ref.path}`;
}

function fail(ref: SecretRef, why: string): never {
  throw new RelayError("INTERNAL", `the secret ${refText(ref)} ${why}`);
}
