/** kubeconform, over schemas out of Kubernetes' own description of its API: https://github.com/yannh/kubeconform */
import { readFileSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import type { Part } from "./cache.ts";
import { install } from "./cache.ts";
import { run } from "./child.ts";
import { goPart } from "./go.ts";

export const kubeconform = goPart("kubeconform", "v0.8.0", "github.com/yannh/kubeconform/cmd/kubeconform", "about 20 CPU seconds");

const SOURCE = join(import.meta.dirname, "kube-apiserver");
const [, kubernetes = ""] = /\sk8s\.io\/kubernetes (v\d+\.\d+\.\d+)\n/.exec(readFileSync(join(SOURCE, "go.mod"), "utf8")) ?? [];

const schema = z.looseObject({
  properties: z.unknown().optional(),
  additionalProperties: z.unknown().optional(),
  format: z.string().optional(),
  "x-kubernetes-group-version-kind": z.array(z.object({ group: z.string(), version: z.string(), kind: z.string() })).default([]),
});
const api = z.object({ definitions: z.record(z.string(), schema) });
const QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity";

/** Of the API server's version. Written for clients, the description allows what it does not name: here that is a fault. */
export const schemas: Part = {
  name: "kubernetes-schemas",
  version: kubernetes,
  cost: "a few seconds after kube-apiserver",
  build: async (folder) => {
    const downloaded = await run("go", ["mod", "download", "-json", `k8s.io/kubernetes@${kubernetes}`], { cwd: SOURCE });
    const { Dir } = z.object({ Dir: z.string() }).parse(JSON.parse(downloaded));
    const { definitions } = api.parse(JSON.parse(await readFile(join(Dir, "api/openapi-spec/swagger.json"), "utf8")));
    const strict = Object.entries(definitions).map(([name, each]) => [name, narrowed(name, each)] as const);
    await writeFile(join(folder, "definitions.json"), JSON.stringify({ definitions: Object.fromEntries(strict) }));
    for (const [name, each] of Object.entries(definitions)) {
      for (const { group, version, kind } of each["x-kubernetes-group-version-kind"]) {
        // As kubeconform looks for it: the group without its domain.
        const file = [kind, ...(group === "" ? [] : [group.split(".")[0]]), version].join("-").toLowerCase();
        await writeFile(join(folder, `${file}.json`), JSON.stringify({ $ref: `definitions.json#/definitions/${name}` }));
      }
    }
  },
};

function narrowed(name: string, each: z.infer<typeof schema>): object {
  if (name === QUANTITY) return { type: ["string", "number"] };
  if (each.format === "int-or-string") return { type: ["string", "integer"] };
  return each.properties !== undefined && each.additionalProperties === undefined ? { ...each, additionalProperties: false } : each;
}

const summary = z.object({
  resources: z.array(z.object({ kind: z.string(), name: z.string(), status: z.string(), msg: z.string() })),
  summary: z.object({ valid: z.int(), skipped: z.int() }),
});

/** How many objects of the file fit, and of which kinds it knows none. Throws with each that does not fit. */
export async function conform(file: string, unknown: readonly string[]): Promise<{ valid: number; skipped: number }> {
  const program = join(await install(kubeconform), "kubeconform");
  const folder = await install(schemas);
  const location = `${folder}/{{.ResourceKind}}{{.KindSuffix}}.json`;
  const flags = ["-strict", "-summary", "-output", "json", "-schema-location", location, "-skip", unknown.join(",")];
  return summary.parse(JSON.parse(await run(program, [...flags, file]))).summary;
}
