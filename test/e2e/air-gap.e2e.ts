/** `npm run release`: the archive, and its way into a registry where there is no other network. */
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import * as z from "zod";
import { openBuildah } from "./parts/buildah.ts";
import { install, say } from "./parts/cache.ts";
import { run, temporaryFolder } from "./parts/child.ts";
import { crane } from "./parts/crane.ts";
import { objectsIn, openHelm } from "./parts/helm.ts";
import { configuration, registries } from "./parts/registry.ts";
import { buildRelayImage } from "./relay-image.ts";

const ROOT = join(import.meta.dirname, "../..");
const CLI = join(ROOT, "dist/cli.js");
const RELEASE = join(ROOT, "infra/release/release.mjs");
const HOST = "127.0.0.1:5000"; // a network of its own: nobody else has a port there
const REPO = `${HOST}/deckhouse/modules`;
const CHANNELS = ["alpha", "beta", "early-access", "stable", "rock-solid", "lts"];

let folder: string;
let layout: string;
let archive: string;
let version: string;
let unpacked: string;
const stops: (() => Promise<void>)[] = [];
const at = (name: string) => join(folder, name);

beforeAll(async () => {
  const made = await temporaryFolder("air-gap");
  folder = made.path;
  stops.push(made.remove);
  ({ version } = z.object({ version: z.string() }).parse(JSON.parse(await readFile(join(ROOT, "package.json"), "utf8"))));
  const buildah = await openBuildah();
  layout = at("layout");
  try {
    await buildah.layout(await buildRelayImage(buildah, folder), layout);
  } finally {
    await buildah.close();
  }
  const said = await release(layout, at("out"));
  archive = at(`out/mpo-relay-${version}.tar`);
  expect(said).toBe(`${(await run("sha256sum", [archive])).split(" ")[0]}  ${archive}\n`);
  unpacked = await unpack(archive, at("unpacked"));
}, 240_000);
afterAll(async () => {
  for (const stop of stops.toReversed()) await stop();
});

const release = (image: string, out: string) => run(process.execPath, [RELEASE, "--image", image, "--out", out]);
async function unpack(file: string, into: string): Promise<string> {
  await mkdir(into);
  await run("tar", ["-xf", file, "-C", into]);
  return join(into, `mpo-relay-${version}`);
}
/** The commands of PUSH.md in their order: to check, and to push. */
async function linesOf(): Promise<{ check: string; push: string }> {
  const text = await readFile(join(unpacked, "PUSH.md"), "utf8");
  const [check = "", push = "", ...more] = [...text.matchAll(/^```sh\n(.*?)^```$/gms)].map((found) => found[1] ?? "");
  expect(more).toEqual([]);
  return { check, push };
}
/** Which file it is goes to the standard output, and an error shows the other. */
const check = async (where: string) => run("sh", ["-euc", `exec >&2\n${(await linesOf()).check}`], { cwd: where });

test("holds what is needed and no more, and the same comes of the same", async () => {
  const files = await readdir(unpacked, { recursive: true });
  expect(files).toEqual(
    expect.arrayContaining([
      "PUSH.md",
      "SHA256SUMS",
      "LICENSE",
      "THIRD-PARTY.txt",
      "CHANGELOG.md",
      "sbom.cdx.json",
      "infra/module.md",
      "infra/air-gap.md",
      "infra/cluster/serve/deployment.yaml",
      "infra/monitoring/kustomization.yaml", // infra/cluster/monitoring takes the dashboard from there
    ]),
  );
  expect(files.filter((path) => /\.(?:secret|token|crt|key|ts)$/.test(path))).toEqual([]);
  const sbom = z.object({ bomFormat: z.literal("CycloneDX"), components: z.array(z.object({ name: z.string() })) });
  const { components } = sbom.parse(JSON.parse(await readFile(join(unpacked, "sbom.cdx.json"), "utf8")));
  const { dependencies } = z
    .object({ dependencies: z.record(z.string(), z.string()) })
    .parse(JSON.parse(await readFile(join(ROOT, "package.json"), "utf8")));
  expect(components.map(({ name }) => name)).toEqual(expect.arrayContaining([...Object.keys(dependencies), "@kubernetes/client-node"]));
  expect(components.map(({ name }) => name)).not.toContain("vitest");

  const tar = at("layout.tar");
  await run("tar", ["-cf", tar, "-C", layout, "."]);
  const again = await release(tar, at("again"));
  expect(again.split(" ")[0]).toBe((await run("sha256sum", [archive])).split(" ")[0]);
});

const digestRow = /^\| `(\$REPO\S*?)`.*\| `(sha256:[0-9a-f]{64})` \|$/gm;
const shown = z.looseObject({
  modules: z.array(z.string()).default([]),
  releases: z.array(z.string()).default([]),
  channels: z.array(z.object({ channel: z.string(), version: z.string().nullable() })).default([]),
  components: z.record(z.string(), z.string()).nullable().default(null),
  version: z.string().nullable().default(null),
});

test("comes into a registry by the lines of PUSH.md, with no other network", async () => {
  const { part, program } = registries["3.1.2"];
  const registry = join(await install(part), program);
  await writeFile(at("registry.json"), JSON.stringify(configuration(HOST, at("images"), [])));
  const { push } = await linesOf();
  const [first = "", ...rest] = push.split("\n");
  expect(first).toMatch(/^REPO=/);
  await writeFile(at("push.sh"), [`REPO=${REPO}`, ...rest].join("\n"));
  const rows = [...(await readFile(join(unpacked, "PUSH.md"), "utf8")).matchAll(digestRow)];
  const named = rows.map(([, reference = "", digest = ""]) => [reference.replace("$REPO", REPO), digest] as const);
  expect(named).toHaveLength(4);
  const script = `set -eu
ip link set lo up
ip -o link | wc -l >${at("links")}
"${registry}" serve ${at("registry.json")} >${at("registry.log")} 2>&1 &
trap "kill $!" EXIT
until crane catalog ${HOST} >/dev/null 2>&1; do sleep 0.1; done
cd ${unpacked}
${(await linesOf()).check}
sh -eu ${at("push.sh")} >${at("push.log")} 2>&1
for reference in ${named.map(([reference]) => reference).join(" ")}; do crane digest $reference; done >${at("digests")}
for channel in ${CHANNELS.join(" ")}; do crane digest ${REPO}/mpo-relay/release:$channel; done >${at("channels")}
crane pull --format=oci ${REPO}/mpo-relay@${named[0]?.[1]} ${at("pulled")}
mkdir ${at("bundle")}
crane export ${REPO}/mpo-relay:v${version} - | tar -x -C ${at("bundle")}
mpo_relay="${process.execPath} ${CLI}"
$mpo_relay source ${REPO} --json >${at("source.json")}
$mpo_relay source ${REPO} mpo-relay --json >${at("module.json")}
$mpo_relay source ${REPO} mpo-relay:v${version} --json >${at("image.json")}
`;
  const path = `${dirname(join(await install(crane), "crane"))}:${process.env["PATH"]}`;
  await run("unshare", ["--net", "--map-root-user", "sh", "-c", script], {
    env: { PATH: path, HOME: folder, OTEL_TRACES_EXPORTER: "none" },
    cwd: folder,
  });

  expect((await readFile(at("links"), "utf8")).trim()).toBe("1"); // loopback
  const linesIn = async (file: string) => (await readFile(at(file), "utf8")).trim().split("\n");
  expect(await linesIn("digests")).toEqual(named.map(([, digest]) => digest));
  expect(new Set(await linesIn("channels"))).toEqual(new Set([named[2]?.[1]]));
  const pulled = z.object({ manifests: z.tuple([z.looseObject({ digest: z.string() })]) });
  expect(pulled.parse(JSON.parse(await readFile(at("pulled/index.json"), "utf8"))).manifests[0].digest).toBe(named[0]?.[1]);

  const read = async (file: string) => shown.parse(JSON.parse(await readFile(at(file), "utf8")));
  expect((await read("source.json")).modules).toEqual(["mpo-relay"]);
  const module = await read("module.json");
  expect(module.releases).toEqual(expect.arrayContaining([`v${version}`, ...CHANNELS]));
  expect(module.channels.map(({ channel, version: of }) => [channel, of])).toEqual(CHANNELS.map((channel) => [channel, `v${version}`]));
  expect(await read("image.json")).toMatchObject({ version: `v${version}`, components: { mpoRelay: named[0]?.[1] } });
  say(`the archive: ${((await readFile(archive)).length / 1e6).toFixed(1)} MB`);
});

test("what Deckhouse unpacks is the chart, and names the image that was pushed beside it", async () => {
  const digests: unknown = JSON.parse(await readFile(at("bundle/images_digests.json"), "utf8"));
  const values = {
    global: { enabledModules: [], discovery: { apiVersions: [] }, modulesImages: { digests: { mpoRelay: digests } }, modules: {} },
    mpoRelay: {
      mode: "Worker",
      cluster: "stage",
      secretName: "mpo-relay",
      replicas: 1,
      events: true,
      registry: { base: REPO },
      queue: { url: "https://sqs.example.com/1/q" },
    },
  };
  const helm = await openHelm();
  const deployment = objectsIn(await helm.template(at("bundle"), values)).find(({ kind }) => kind === "Deployment");
  const pulled = z.object({ mpoRelay: z.string() }).parse(digests).mpoRelay;
  expect(deployment).toMatchObject({ spec: { template: { spec: { containers: [{ image: `${REPO}/mpo-relay@${pulled}` }] } } } });
  expect(await readFile(at("bundle/Chart.yaml"), "utf8")).toContain(`version: ${version}\n`);
});

test("a byte that changed on the way is found, and so is a file that got lost", async () => {
  await check(unpacked);
  const damaged = at("damaged.tar");
  const bytes = await readFile(archive);
  const middle = Math.floor(bytes.length / 2);
  bytes[middle] = (bytes[middle] ?? 0) ^ 1;
  await writeFile(damaged, bytes);
  await expect(check(await unpack(damaged, at("damaged")))).rejects.toThrow(/images\/relay\/blobs\/sha256\/[0-9a-f]+: FAILED/);
  await rm(join(unpacked, "images/module/index.json"));
  await expect(check(unpacked)).rejects.toThrow(/images\/module\/index\.json/);
});

test("a release is refused over an image that is none, is several, or is damaged", async () => {
  const refused = (image: string) => expect(release(image, at("none"))).rejects;
  await refused(ROOT).toThrow("is no OCI image layout");
  const several = at("several");
  await cp(layout, several, { recursive: true });
  const index = z
    .looseObject({ manifests: z.array(z.looseObject({ digest: z.string() })) })
    .parse(JSON.parse(await readFile(join(layout, "index.json"), "utf8")));
  await writeFile(join(several, "index.json"), JSON.stringify({ ...index, manifests: [...index.manifests, ...index.manifests] }));
  await refused(several).toThrow("holds 2 images");
  const blob = join(several, "blobs", ...(index.manifests[0]?.digest ?? "").split(":"));
  await writeFile(join(several, "index.json"), JSON.stringify(index));
  await writeFile(blob, `${await readFile(blob, "utf8")} `);
  await refused(several).toThrow("is damaged");
  await expect(run(process.execPath, [RELEASE])).rejects.toThrow("--image PATH");
});
