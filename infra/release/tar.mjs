/** Archives of which the same files make the same bytes: in order, by nobody, at the beginning of time. */
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, readdir, stat } from "node:fs/promises";
import { dirname, join, relative, resolve, sep } from "node:path";
import { pipeline } from "node:stream/promises";
import { buffer } from "node:stream/consumers";
import { extract, pack } from "tar-stream";

const SAME = { uid: 0, gid: 0, uname: "", gname: "", mtime: new Date(0) };

/** Files of `{ path, content }`, and the folders over them. */
export function tarOf(files) {
  const archive = pack();
  const folders = new Set(files.flatMap(({ path }) => parentsOf(path)));
  for (const name of [...folders].toSorted(inOrder)) archive.entry({ ...SAME, name: `${name}/`, type: "directory", mode: 0o755 });
  for (const { path, content } of files.toSorted((a, b) => inOrder(a.path, b.path)))
    archive.entry({ ...SAME, name: path, mode: 0o644 }, content);
  archive.finalize();
  return buffer(archive);
}

/** The folder under its own name into the file. */
export async function packFolder(folder, file) {
  const archive = pack();
  const written = pipeline(archive, createWriteStream(file));
  for (const path of await filesIn(folder)) {
    const at = join(folder, path);
    const entry = archive.entry({ ...SAME, name: join(relative(dirname(folder), folder), path), mode: 0o644, size: (await stat(at)).size });
    await pipeline(createReadStream(at), entry);
  }
  archive.finalize();
  await written;
}

/** Files alone; what points out of the folder is left out. */
export async function unpack(file, folder) {
  const entries = extract();
  const read = pipeline(createReadStream(file), entries);
  for await (const entry of entries) await take(entry, folder);
  await read;
}

async function take(entry, folder) {
  const { name, type } = entry.header;
  const target = resolve(folder, name);
  if (type !== "file" || !target.startsWith(folder + sep)) return void entry.resume();
  await mkdir(dirname(target), { recursive: true });
  await pipeline(entry, createWriteStream(target));
}

/** Paths of all files below, in order. */
export async function filesIn(folder) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((each) => each.isFile())
    .map((each) => relative(folder, join(each.parentPath, each.name)))
    .toSorted(inOrder);
}

/** By bytes, whatever the language of whoever builds. */
const inOrder = (a, b) => (a < b ? -1 : 1);

function parentsOf(path) {
  const parts = path.split("/").slice(0, -1);
  return parts.map((_, index) => parts.slice(0, index + 1).join("/"));
}
