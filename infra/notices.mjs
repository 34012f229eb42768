/** The licences and notices that whoever gives a bundle on must give with it: of each package of which it holds code. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

const LICENCE = /^(?:(?:un)?licen[cs]e|copying|copyright)(?:[.-][\w.-]+)?$/i;
const NOTICE = /^(?:notice|third[-_ ]?party[-_ ]?(?:licen[cs]es|notices))(?:[.-][\w.-]+)?$/i;
const CODE = /\.(?:[cm]?[jt]s|json)$/;

/**
 * The text, the same for the same packages. `inputs` are paths as esbuild's metafile has them, relative to `root`; `texts` holds, by
 * `name@version`, that of packages that come without. A package without one takes that of another from its repository, with the same licence.
 * Throws with all packages that have neither.
 */
export async function noticesOf(root, inputs, texts) {
  const found = await Promise.all(
    foldersOf(inputs)
      .toSorted(inOrder)
      .map((folder) => read(join(root, folder), texts)),
  );
  const packages = found.toSorted((a, b) => inOrder(a.id, b.id));
  // One version may lie in several folders.
  const all = packages.filter(({ id }, index) => id !== packages[index - 1]?.id).map((each) => withSibling(each, packages));
  const bare = all.filter(({ licence }) => licence === "").map(({ id }) => id);
  if (bare.length > 0) throw new Error(`no text of a licence with ${bare.join(", ")}: write it into infra/licences.json`);
  const textOf = ({ licence, notice }) => [licence, notice].filter((text) => text !== "").join("\n\n");
  const parts = [...new Set(all.map(textOf))].map((text) => {
    const of = all.filter((each) => textOf(each) === text).map(({ id, name }) => `${id} (${name})\n`);
    return `${of.join("")}\n${text}\n`;
  });
  return ["This program holds code of these packages, under these licences.\n", ...parts].join(`\n${"=".repeat(80)}\n\n`);
}

/** Of the packages that paths of a metafile lie in, each once. */
export const foldersOf = (inputs) => [...new Set(inputs.flatMap((path) => /.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? []))];

function withSibling(one, packages) {
  if (one.licence !== "" || one.repository === "") return one;
  const sibling = packages.find(({ repository, name, licence }) => repository === one.repository && name === one.name && licence !== "");
  return { ...one, licence: sibling?.licence ?? "" };
}

/** `name` is the licence's, `licence` and `notice` its text and what goes with it. */
async function read(folder, texts) {
  const about = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
  const id = `${about.name}@${about.version}`;
  const files = (await readdir(folder)).filter((file) => !CODE.test(file)).toSorted(inOrder);
  const text = async (kind) => {
    const written = await Promise.all(files.filter((file) => kind.test(file)).map((file) => readFile(join(folder, file), "utf8")));
    const texts = written.map((each) => each.replaceAll("\r\n", "\n").trim());
    return texts.filter((each) => each !== "").join("\n\n");
  };
  const licence = (await text(LICENCE)) || (texts[id] ?? "");
  return { id, name: about.license, repository: about.repository?.url ?? about.repository ?? "", licence, notice: await text(NOTICE) };
}

/** By bytes, whatever the language of whoever builds. */
const inOrder = (a, b) => (a === b ? 0 : a < b ? -1 : 1);
