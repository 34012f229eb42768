/**
 * What a registry holds, for a person who looks into it: tags, images, and layers as streams.
 * Read only, by the same way in as the look-up port (oci.ts), whose small port the relay itself stays with.
 */
import { createHash } from "node:crypto";
import { type Readable, Transform } from "node:stream";
import { rootCertificates } from "node:tls";
import * as z from "zod";
import { DIGEST, problems } from "../event.ts";
import { jsonOf } from "../json.ts";
import { askWithin, failed, type OpenAnswer, open } from "./http.ts";
import { ACCEPT, childOf, digestOf, isIndex, MANIFESTS, OciRegistry, urlOf } from "./oci.ts";
import type { Place } from "./place.ts";
import { statusTrouble, Trouble } from "./trouble.ts";

/** A blob, by its digest; `size` in bytes, compressed. */
export interface Descriptor {
  readonly digest: string;
  readonly size: number;
  readonly mediaType: string;
}
export interface Image {
  /** Of the image's manifest: what Deckhouse shows as `imageDigest`. */
  readonly digest: string;
  /** Of the index that the reference names; null: it names the manifest itself. */
  readonly index: string | null;
  readonly mediaType: string;
  /** The lowest first. */
  readonly layers: readonly Descriptor[];
}

/** Longer than for a look-up: a person waits, and nothing else does. */
const PATIENCE_MS = 30_000;
/** Between two pieces of a layer. */
const IDLE_MS = 30_000;
const PAGE = 1000;
const MOST_PAGES = 1000;
const MOST_TAGS = 200_000;
const MOST_LAYERS = 512;
const MOST_REDIRECTS = 3;

const page = z.object({ tags: z.array(z.string()).nullish() });
const blob = z.object({ digest: z.string().regex(DIGEST), size: z.int().min(0), mediaType: z.string().default("") });
const manifest = z.object({ layers: z.array(blob).max(MOST_LAYERS) });

/** Every method throws RelayError REGISTRY_UNAVAILABLE; a Trouble with its status where the registry answered. */
export class RegistryReader {
  readonly #ask = askWithin(PATIENCE_MS);
  readonly #registry = new OciRegistry(this.#ask);

  /** The tags of a repository, page by page, as the registry orders them. `null`: there is no such repository. */
  async *tags(place: Place): AsyncGenerator<readonly string[] | null, void, void> {
    let url: URL | null = urlOf(place, `tags/list?n=${PAGE}`);
    for (let [pages, count] = [0, 0]; url !== null; pages++) {
      const asked: URL = url;
      if (pages === MOST_PAGES || count > MOST_TAGS) throw unavailable(asked, `its list of tags does not end after ${count}`);
      const answer = await this.#registry.authorized(place, (authorization) =>
        this.#ask({ url: asked, method: "GET", headers: { accept: "application/json", ...authorization }, ca: place.ca }),
      );
      if (answer.status === 404 && pages === 0) {
        yield null;
        return;
      }
      if (answer.status !== 200) throw refused(asked, answer);
      const read = page.safeParse(jsonOf(answer.body));
      if (!read.success) throw unavailable(asked, "its answer is no list of tags");
      const tags = read.data.tags ?? [];
      count += tags.length;
      yield tags;
      url = nextPage(asked, answer.headers["link"]);
    }
  }

  /** By tag or digest, an index followed to linux/amd64 as Deckhouse does. null: it is not there. */
  async image(place: Place, reference: string): Promise<Image | null> {
    const named = await this.#manifest(place, reference);
    if (named === null || !isIndex(named)) return named && imageOf(named, place, null);
    const child = await this.#manifest(place, childOf(named.body, place));
    if (child === null) throw unavailable(place.repository, "its index names a manifest for linux/amd64 that is not there");
    return imageOf(child, place, named.digest);
  }

  /** The bytes of a layer, as they lie there; the stream fails at its end where they are not what their digest says. */
  async layer(place: Place, { digest, size }: Descriptor): Promise<Readable> {
    const first = urlOf(place, `blobs/${digest}`);
    let answer = await this.#registry.authorized(place, (authorization) => this.#head(first, authorization, place.ca));
    let url = first;
    for (let hops = 0; isRedirect(answer); hops++) {
      if (hops === MOST_REDIRECTS) throw unavailable(url, "it sends us from place to place");
      url = placeBehind(url, answer.headers["location"] ?? "", place.plainHttp);
      // Storage has its own proof in the URL, and the registry's credential is not for it. Nor need it have the registry's own authority.
      answer = await this.#head(url, {}, place.ca === null ? null : [place.ca, ...rootCertificates]);
    }
    if (answer.status !== 200) throw refused(url, answer, answer.status === 404 ? `it has no blob ${digest}:` : "it");
    const { body } = answer;
    body.setTimeout(IDLE_MS, () => body.destroy(new DOMException("", "TimeoutError")));
    const checked = checkedBytes(digest, size, url);
    body.on("error", (error) => checked.destroy(failed(url, error, IDLE_MS)));
    body.on("aborted", () => checked.destroy(unavailable(url, "it broke off in the middle of a layer")));
    checked.on("close", () => body.destroy());
    return body.pipe(checked);
  }

  async #head(url: URL, headers: Readonly<Record<string, string>>, ca: string | readonly string[] | null): Promise<OpenAnswer> {
    const answer = await open({ url, method: "GET", headers, ca }, PATIENCE_MS);
    if (answer.status !== 200) answer.body.on("error", () => undefined).destroy(); // nobody reads it
    return answer;
  }

  async #manifest(place: Place, reference: string) {
    const url = urlOf(place, `manifests/${reference}`);
    const answer = await this.#registry.authorized(place, (authorization) =>
      this.#ask({ url, method: "GET", headers: { accept: ACCEPT, ...authorization }, ca: place.ca }),
    );
    if (answer.status === 404) return null;
    if (answer.status !== 200) throw refused(url, answer);
    const digest = digestOf(answer.body);
    if (reference.startsWith("sha256:") && digest !== reference) throw unavailable(url, `it gives another manifest than ${reference}`);
    return { ...answer, digest };
  }
}

function imageOf(
  { headers, body, digest }: { headers: Readonly<Record<string, string>>; body: Buffer; digest: string },
  { repository }: Place,
  index: string | null,
): Image {
  const mediaType = (headers["content-type"] ?? "").split(";")[0]?.trim() ?? "";
  if (!MANIFESTS.includes(mediaType)) throw unavailable(repository, `${digest} is of the type ${mediaType || "(none)"}, which is no image`);
  const read = manifest.safeParse(jsonOf(body));
  if (!read.success) throw unavailable(repository, `the manifest ${digest} cannot be read: ${problems(read.error)}`);
  return { digest, index, mediaType, layers: read.data.layers };
}

/**
 * From `Link: <…>; rel="next"`. Only the path is taken from it, and only where it names no other host: a credential goes with the next request.
 * https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-tags
 */
function nextPage(from: URL, link: string | undefined): URL | null {
  const target = /<([^>]*)>\s*;[^,]*\brel="?next"?/i.exec(link ?? "")?.[1];
  if (target === undefined) return null;
  if (!URL.canParse(target, from.href)) throw unavailable(from, "the address of its next page of tags cannot be read");
  const next = new URL(target, from);
  if (next.host !== from.host) throw unavailable(from, `its next page of tags is at another host, ${next.host}, which is not asked`);
  return new URL(`${next.pathname}${next.search}`, from);
}

const unavailable = (where: URL | string, what: string) => new Trouble("image", typeof where === "string" ? where : where.host, what);
const refused = (url: URL, answer: Pick<OpenAnswer, "status" | "headers">, who = "it") =>
  statusTrouble("image", url.host, answer, Date.now(), who);
const isRedirect = ({ status }: OpenAnswer) => [301, 302, 303, 307, 308].includes(status);

function placeBehind(from: URL, location: string, plainHttp: boolean): URL {
  const url = URL.canParse(location, from.href) ? new URL(location, from) : null;
  if (url && (url.protocol === "https:" || (plainHttp && url.protocol === "http:"))) return url;
  throw unavailable(from, "it sends us to a place that is not https");
}

/** Passes bytes on. More than were announced, or others, are an error. */
function checkedBytes(digest: string, size: number, url: URL): Transform {
  const [algorithm = "", wanted] = digest.split(":");
  const hash = createHash(algorithm);
  let bytes = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      if (bytes > size) return done(unavailable(url, `the layer ${digest} is larger than the ${size} bytes that its manifest says`));
      hash.update(chunk);
      done(null, chunk);
    },
    flush(done) {
      const isWhole = bytes === size && hash.digest("hex") === wanted;
      done(isWhole ? null : unavailable(url, `the layer ${digest} arrived damaged or cut: its bytes are not what its digest says`));
    },
  });
}
