/** What Deckhouse reads of a module source in a registry: which modules there are, and which version a release channel holds. */
import { gunzipSync } from "node:zlib";
import * as z from "zod";
import { MANIFEST_TYPES } from "./registry-manifest.ts";

const TIMEOUT_MS = 10_000;
const tagList = z.object({ tags: z.array(z.string()).nullable() });
const image = z.object({ layers: z.array(z.object({ digest: z.string() })) });
const versionFile = z.object({ version: z.string() });

export interface Channel {
  readonly version: string;
  /** Of the release image. */
  readonly digest: string;
}
export interface ReleaseRegistry {
  /** The tags of `repo` itself (`host[:port]/path`), each of which names a module. */
  modules(repo: string, scheme: string): Promise<string[]>;
  /** What `version.json` in `<repo>/<module>/release:<channel>` says. Rejects with an Error that says why not. */
  channel(repo: string, module: string, channel: string, scheme: string): Promise<Channel>;
}

export const releaseRegistry: ReleaseRegistry = {
  async modules(repo, scheme) {
    const { body } = await get(`${baseOf(repo, scheme)}/tags/list`);
    return (tagList.parse(JSON.parse(body.toString())).tags ?? []).toSorted();
  },
  async channel(repo, module, channel, scheme) {
    const base = `${baseOf(repo, scheme)}/${module}/release`;
    const { body, digest } = await get(`${base}/manifests/${channel}`);
    for (const layer of image.parse(JSON.parse(body.toString())).layers) {
      const file = fileIn(gunzipSync((await get(`${base}/blobs/${layer.digest}`)).body), "version.json");
      if (file !== null) return { version: versionFile.parse(JSON.parse(file)).version, digest };
    }
    throw new Error(`no version.json in ${repo}/${module}/release:${channel}`);
  },
};

function baseOf(repo: string, scheme: string): string {
  const slash = repo.indexOf("/");
  return `${scheme}://${repo.slice(0, slash)}/v2/${repo.slice(slash + 1).replace(/\/+$/, "")}`;
}

async function get(url: string): Promise<{ body: Buffer; digest: string }> {
  const response = await fetch(url, { headers: { accept: MANIFEST_TYPES.join(", ") }, signal: AbortSignal.timeout(TIMEOUT_MS) });
  const body = Buffer.from(await response.arrayBuffer());
  if (!response.ok) throw new Error(`GET ${url}: unexpected status code ${response.status}`);
  return { body, digest: response.headers.get("docker-content-digest") ?? "" };
}

/** A small file's text, by the headers of the ustar format. */
function fileIn(tar: Buffer, name: string): string | null {
  for (let at = 0; at + 512 <= tar.length;) {
    const text = (from: number, length: number) => tar.toString("utf8", at + from, at + from + length).replace(/\0.*$/s, "");
    const size = Number.parseInt(text(124, 12), 8) || 0;
    if (text(0, 100).replace(/^\.\//, "") === name) return tar.toString("utf8", at + 512, at + 512 + size);
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return null;
}
