/**
 * `npm run release -- --image PATH [--out release]`: one archive with all that an air gap needs (infra/air-gap.md). PATH is the relay's image, built
 * elsewhere by infra/Dockerfile, as an OCI image layout: a folder, or a tar of one.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { cp, mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { stringify } from "yaml";
import { copyImage, writeImage } from "./layout.mjs";
import { sbomOf } from "./sbom.mjs";
import { filesIn, packFolder, unpack } from "./tar.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const MODULE = join(root, "infra/module");
/** What Deckhouse reads of a release before it installs it. */
const TOLD = ["module.yaml", "openapi/", "docs/"];
const PAGES = ["README.md", "CHANGELOG.md", "LICENSE", "infra/registries", "infra/cluster", "infra/monitoring"];
/** What somebody who tried the overlays in this checkout left in them. */
const isSecret = (path) => /\.(?:secret|token|crt|key)$/.test(path);

const { image, out } = parseArgs({
  options: { image: { type: "string" }, out: { type: "string", default: join(root, "release") } },
}).values;
if (image === undefined) throw new Error("write --image PATH: the relay's image as an OCI image layout (infra/air-gap.md)");
const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
const name = `mpo-relay-${version}`;
const scratch = await mkdtemp(join(tmpdir(), "mpo-relay-release-"));
try {
  const folder = join(scratch, name);
  const digests = await images(folder);
  for (const page of [
    ...PAGES,
    ...(await filesIn(join(root, "infra"))).filter((path) => /^[^/]+\.md$/.test(path)).map((path) => `infra/${path}`),
  ])
    await cp(join(root, page), join(folder, page), { recursive: true, filter: (path) => !isSecret(path) });
  // As the image has it; and what the bundle holds is in the list.
  await cp(join(root, "dist/THIRD-PARTY.txt"), join(folder, "THIRD-PARTY.txt"));
  await writeFile(join(folder, "sbom.cdx.json"), await sbomOf(root));
  await writeFile(join(folder, "PUSH.md"), await lines(digests));
  const sums = [];
  for (const path of await filesIn(folder)) sums.push(`${await sha256(join(folder, path))}  ${path}\n`);
  await writeFile(join(folder, "SHA256SUMS"), sums.join(""));
  await mkdir(out, { recursive: true });
  const archive = join(out, `${name}.tar`);
  await packFolder(folder, archive);
  process.stdout.write(`${await sha256(archive)}  ${archive}\n`);
} finally {
  await rm(scratch, { recursive: true, force: true });
}

/** The relay's image, and the module's three in the layout of a module source: https://deckhouse.io/products/kubernetes-platform/documentation/v1/architecture/module-development/build/ */
async function images(folder) {
  const at = async (part) => {
    const path = join(folder, "images", part);
    await mkdir(path, { recursive: true });
    return path;
  };
  const relay = await copyImage(await layoutOf(image), await at("relay"));
  const module = [];
  for (const path of await filesIn(MODULE)) module.push({ path, content: await readFile(join(MODULE, path), "utf8") });
  const tag = { path: "version.json", content: JSON.stringify({ version: `v${version}` }) };
  const chart = (each) => (each.path === "Chart.yaml" ? { ...each, content: each.content.replace("0.0.0", version) } : each);
  const own = { path: "images_digests.json", content: JSON.stringify({ mpoRelay: relay }) };
  const told = module.filter(({ path }) => TOLD.some((each) => path === each || path.startsWith(each)));
  return {
    relay,
    module: await writeImage(await at("module"), [...module.map(chart), own, tag]),
    release: await writeImage(await at("release"), [...told, tag, { path: "changelog.yaml", content: await changelog() }]),
    registration: await writeImage(await at("registration"), []),
  };
}

async function layoutOf(path) {
  if ((await stat(path)).isDirectory()) return path;
  const folder = join(scratch, "image");
  await unpack(path, folder);
  return folder;
}

/** The newest section of CHANGELOG.md, as Deckhouse shows it. */
async function changelog() {
  const [, newest = ""] = (await readFile(join(root, "CHANGELOG.md"), "utf8")).split(/^## .*$/m);
  return stringify({ features: newest.split("\n").flatMap((line) => (line.startsWith("- ") ? [line.slice(2)] : [])) });
}

async function lines(digests) {
  const text = (await readFile(join(root, "infra/release/PUSH.md"), "utf8")).replaceAll("VERSION", version);
  return text.replace(/DIGEST_(\w+)/g, (_, part) => digests[part]);
}

async function sha256(file) {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file), hash);
  return hash.digest("hex");
}
