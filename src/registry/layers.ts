/**
 * The files of an image, from its layers as streams: gzip, tar, and what upper layers take away from lower ones.
 * https://github.com/opencontainers/image-spec/blob/main/layer.md. Nothing is written anywhere, and little is kept: names, and the contents asked for.
 */
import { pipeline, type Readable, Transform } from "node:stream";
import { createGunzip } from "node:zlib";
import type { Header } from "tar-stream";
import { RelayError, toRelayError } from "../outcome.ts";
import type { Descriptor, Image } from "./reader.ts";

export interface ImageFile {
  /** Without a leading slash. */
  readonly path: string;
  readonly kind: "file" | "link" | "other";
  /** Bytes; 0 for what is no file. */
  readonly size: number;
}
export interface Files {
  /** By path; without directories. */
  readonly files: readonly ImageFile[];
  /** The contents of the wanted files that are there. */
  readonly contents: ReadonlyMap<string, string>;
  /** How many layers were read. */
  readonly layers: number;
}

/**
 * Against what is made to fill memory or time: bytes once unpacked, of all layers of one image; entries of them; characters of their names together;
 * bytes of a file that is shown.
 */
export interface Bounds {
  readonly bytes: number;
  readonly entries: number;
  readonly names: number;
  readonly content: number;
}
export const BOUNDS: Bounds = { bytes: 2 * 1024 ** 3, entries: 100_000, names: 16 * 1024 ** 2, content: 1024 ** 2 };
/** Linux takes no longer path: PATH_MAX. */
const LONGEST_PATH = 4096;

const WHITEOUT = ".wh.";
const OPAQUE = ".wh..wh..opq";
type OpenLayer = (layer: Descriptor) => Promise<Readable>;

/** Every file, which takes every layer. Throws RelayError REGISTRY_UNAVAILABLE for what cannot be read, or should not be. */
export function listFiles(image: Image, openLayer: OpenLayer, wanted: readonly string[], bounds = BOUNDS): Promise<Files> {
  return read(image, openLayer, wanted, false, bounds);
}

/** The wanted files alone: from the uppermost layer down, and no layer below the last of them. */
export function readFiles(image: Image, openLayer: OpenLayer, wanted: readonly string[], bounds = BOUNDS): Promise<Files> {
  return read(image, openLayer, wanted, true, bounds);
}

async function read(image: Image, openLayer: OpenLayer, wanted: readonly string[], onlyWanted: boolean, bounds: Bounds): Promise<Files> {
  const found = new Map<string, ImageFile>();
  const contents = new Map<string, string>();
  const covers = new Covers();
  const left = { bytes: bounds.bytes, entries: bounds.entries, names: bounds.names };
  let layers = 0;
  for (const layer of image.layers.toReversed()) {
    if (onlyWanted && wanted.every((path) => found.has(path) || covers.hides(path))) break;
    layers++;
    const own = await readLayer(layer, openLayer, { wanted, bounds, left, isOpen: (path) => !found.has(path) && !covers.hides(path) });
    for (const [path, file] of own.files) found.set(path, file);
    for (const [path, text] of own.contents) contents.set(path, text);
    covers.add(own);
  }
  const files = [...found.values()].toSorted((a, b) => (a.path < b.path ? -1 : 1));
  return { files: onlyWanted ? files.filter(({ path }) => wanted.includes(path)) : files, contents, layers };
}

interface Layer {
  readonly files: Map<string, ImageFile>;
  readonly contents: Map<string, string>;
  /** What is not to be seen of lower layers, with all below it. */
  readonly gone: Set<string>;
  /** Directories: of lower layers they hide what is none, and nothing below it. */
  readonly folders: Set<string>;
  /** Directories of which nothing lower is to be seen. */
  readonly opaque: Set<string>;
}

/** What the layers so far hide of those below them. */
class Covers {
  readonly #gone = new Set<string>();
  readonly #folders = new Set<string>();
  readonly #opaque = new Set<string>();

  add({ files, gone, folders, opaque }: Layer): void {
    for (const path of [...gone, ...files.keys()]) this.#gone.add(path); // what is no directory has nothing below it
    for (const path of folders) this.#folders.add(path);
    for (const path of opaque) this.#opaque.add(path);
  }

  hides(path: string): boolean {
    if (this.#gone.has(path) || this.#folders.has(path)) return true;
    for (let end = path.lastIndexOf("/"); ; end = path.lastIndexOf("/", end - 1)) {
      const above = end < 0 ? "" : path.slice(0, end);
      if (this.#opaque.has(above) || (above !== "" && this.#gone.has(above))) return true;
      if (end <= 0) return false;
    }
  }
}

interface Reading {
  readonly wanted: readonly string[];
  readonly bounds: Bounds;
  /** Counted down over all layers. */
  readonly left: { bytes: number; entries: number; names: number };
  /** Whether no upper layer has, or hides, this path. */
  isOpen(path: string): boolean;
}

async function readLayer(layer: Descriptor, openLayer: OpenLayer, reading: Reading): Promise<Layer> {
  const { extract } = await import("tar-stream");
  const own: Layer = { files: new Map(), contents: new Map(), gone: new Set(), folders: new Set(), opaque: new Set() };
  const compressed = await openLayer(layer);
  try {
    const unpack = unpackerOf(await firstOf(compressed), layer);
    const archive = extract();
    await new Promise<void>((resolve, reject) => {
      archive.on("entry", (header, content, next) => {
        content.on("error", () => undefined); // the archive's own, told below
        const taking = async () => {
          await take(own, header, content, layer, reading);
          next();
        };
        taking().catch(reject);
      });
      const streams = [compressed, ...(unpack ? [unpack] : []), counter(layer, reading), archive];
      archive.on("error", reject); // also one that comes after another ended the flow
      pipeline(streams, (error) => (error ? reject(error) : resolve()));
    });
    return own;
  } catch (thrown) {
    throw thrown instanceof RelayError ? thrown : refuse(layer, `cannot be unpacked: ${toRelayError(thrown).message}`);
  } finally {
    compressed.destroy(); // and with it whatever it flows into
  }
}

/** One entry: noted, and read where it is wanted. */
async function take(own: Layer, header: Header, content: Content, layer: Descriptor, reading: Reading): Promise<void> {
  const { wanted, bounds, left, isOpen } = reading;
  if (--left.entries < 0) throw refuse(layer, `has more than ${bounds.entries} entries`);
  const { type, size, linkname } = header;
  left.names -= header.name.length;
  if (left.names < 0) throw refuse(layer, `has names of more than ${mib(bounds.names)}`);
  const path = plain(header.name, layer);
  if (size > left.bytes) throw refuse(layer, `holds ${shown(path)} of ${mib(size)}`);
  const isFile = type === "file" || type === "contiguous-file";
  note(own, path, isFile ? "file" : type === "directory" ? null : linkname ? "link" : "other", isFile ? size : 0, isOpen);
  if (isFile && wanted.includes(path) && isOpen(path)) own.contents.set(path, await textOf(content, path, size, bounds, layer));
  else content.resume();
}
type Content = AsyncIterable<unknown> & { resume(): unknown };

/** Ends what unpacks to more than may be. */
function counter(layer: Descriptor, { bounds, left }: Reading): Transform {
  return new Transform({
    transform(chunk: Buffer, _encoding, next) {
      left.bytes -= chunk.length;
      if (left.bytes < 0) next(refuse(layer, `unpacks to more than ${mib(bounds.bytes)}`));
      else next(null, chunk);
    },
  });
}

function note(own: Layer, path: string, kind: ImageFile["kind"] | null, size: number, isOpen: (path: string) => boolean): void {
  const slash = path.lastIndexOf("/");
  const [folder, name] = [slash < 0 ? "" : path.slice(0, slash), path.slice(slash + 1)];
  if (name === OPAQUE) own.opaque.add(folder);
  else if (name.startsWith(WHITEOUT)) own.gone.add(`${slash < 0 ? "" : `${folder}/`}${name.slice(WHITEOUT.length)}`);
  else if (kind === null) own.folders.add(path);
  else if (isOpen(path)) own.files.set(path, { path, kind, size });
}

/** The first bytes tell what it is, as they do to crane: media types are often wrong. null: not compressed. */
function unpackerOf(first: Buffer, layer: Descriptor): Transform | null {
  if (first[0] === 0x1f && first[1] === 0x8b) return createGunzip();
  if (first.readUInt32BE(0) === 0x28b52ffd) throw refuse(layer, "is compressed by zstd, which is not read here");
  return null;
}

async function firstOf(stream: Readable): Promise<Buffer> {
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    if (!Buffer.isBuffer(chunk)) continue;
    stream.unshift(chunk);
    return Buffer.concat([chunk.subarray(0, 4), Buffer.alloc(4)]);
  }
  return Buffer.alloc(4);
}

/** A path that leaves the image has no honest maker. Nothing here would write there; whoever unpacks the image by other means might. */
function plain(name: string, layer: Descriptor): string {
  if (name.length > LONGEST_PATH) throw refuse(layer, `holds a path that is longer than ${LONGEST_PATH} characters, ${shown(name)}`);
  const parts = name.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw refuse(layer, `holds the path ${shown(name)}, which leads out of the image: do not unpack it`);
  return parts.join("/");
}

async function textOf(entry: AsyncIterable<unknown>, path: string, size: number, bounds: Bounds, layer: Descriptor): Promise<string> {
  if (size > bounds.content) throw refuse(layer, `holds ${shown(path)} of ${size} bytes, more than the ${bounds.content} that are shown`);
  const parts: Buffer[] = [];
  for await (const part of entry) if (Buffer.isBuffer(part)) parts.push(part);
  return Buffer.concat(parts).toString("utf8");
}

const refuse = ({ digest }: Descriptor, what: string) => new RelayError("REGISTRY_UNAVAILABLE", `the layer ${digest} ${what}`);
const shown = (path: string) => JSON.stringify(path.slice(0, 200));
const mib = (bytes: number) => `${Math.ceil(bytes / 1024 ** 2)} MiB`;
