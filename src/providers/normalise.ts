/** One spelling for what registries write in many: host, repository, tag, digest, instant. All pure, none throws. */
import { DIGEST } from "../event.ts";
import type { Unreadable } from "./provider.ts";

/** What a delivery becomes that names no host, at a webhook that is given none. */
export const NO_HOST: Unreadable = { unreadable: "names no registry host: give the webhook a `host:`" };

const REFERENCE = /^(?:[a-z][a-z0-9+.-]*:\/\/)?(?<host>[^/?#@]+)(?:\/(?<path>.*))?$/i;
const HOST = /^(?:[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::\d{1,5})?$/;

/** `[scheme://]host[:port][/path]` in its parts, the host in lower case with its port; host null where that is no host. */
export function splitReference(text: string): { host: string | null; path: string } {
  const { host = "", path = "" } = REFERENCE.exec(text)?.groups ?? {};
  const lower = host.toLowerCase();
  return { host: HOST.test(lower) ? lower : null, path };
}

/** `[host/]path`, as every container tool reads it: the first segment is a host if it has a dot or a port, or is `localhost`; so is all behind a scheme. */
export function placeOf(repository: string): { host: string | null; path: string } {
  // the slash is looked for first: without it, a text of nothing but dots would take quadratic time
  const isHost = /^(?=[^/]*\/)[^/]*[.:]|^localhost\//i.test(repository);
  return isHost ? splitReference(repository) : { host: null, path: repository };
}

/** `[scheme://]host/path[:tag][@digest]` in its parts; "" for what is not there. */
export function splitImage(text: string): { host: string | null; path: string; tag: string; digest: string } {
  const { host, path: rest } = splitReference(text);
  const [, path = "", tag = "", digest = ""] = /^([^@]*?)(?::([^/:@]*))?(?:@(.*))?$/s.exec(rest) ?? [];
  return { host, path, tag, digest };
}

/** The path in lower case (names in the OCI specification have no upper case, some senders do), without outer slashes. */
export function repositoryOf(path: string): string {
  // only from the first slash of a run on: from each of them would take quadratic time
  return path.replace(/^\/+|(?<!\/)\/+$/g, "").toLowerCase();
}

/** Null for everything that is no whole digest: senders mask and shorten them. */
export function digestOf(text: string): string | null {
  return DIGEST.test(text) ? text : null;
}

/** Harbor, Gitea and zot write the digest into the tag's field when a push has no tag. "" is how Go senders say "none". */
export function tagAndDigest(tag = "", digest = ""): { tag: string | null; digest: string | null } {
  const isTag = tag !== "" && !/^sha(?:256|512):/.test(tag);
  return { tag: isTag ? tag : null, digest: digestOf(digest) ?? digestOf(tag) };
}

/** "" is how Go senders say "none". */
export function orNull(text = ""): string | null {
  return text === "" ? null : text;
}

const INSTANT = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:?\d\d)$/;
const YEAR_10000 = 253_402_300_800_000;

/**
 * RFC 3339 (any precision, any offset, `+0000` too) or epoch seconds, as RFC 3339 UTC with milliseconds, truncated.
 * Null where there is none: absent, "", 0, Go's zero time, or not an instant at all; a push counts without its time.
 */
export function instantOf(time: string | number = ""): string | null {
  // a fraction of seconds is not exact in binary: x.702 can come as x.70199999, in no year before 10000 by as much as 0.05 ms
  const millis = typeof time === "number" ? Math.floor(Number((time * 1000).toFixed(1))) : millisOf(time);
  return millis > 0 && millis < YEAR_10000 ? new Date(millis).toISOString() : null;
}

function millisOf(text: string): number {
  const [, date, clock, fraction = "", zone] = INSTANT.exec(text.toUpperCase()) ?? [];
  return Date.parse(`${date}T${clock}.${fraction.slice(0, 3).padEnd(3, "0")}${zone}`);
}
