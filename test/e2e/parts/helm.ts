/** helm, with which Deckhouse renders a module: https://helm.sh/docs/helm/helm_template/ */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import * as z from "zod";
import { install } from "./cache.ts";
import { run, temporaryFolder } from "./child.ts";
import { goPart } from "./go.ts";

export const helm = goPart("helm", "v3.22.0", "helm.sh/helm/v3/cmd/helm", "about 2 CPU minutes");

export interface Helm {
  /** Throws with every finding, warnings too. */
  lint(chart: string, values: object): Promise<void>;
  /** The manifests as one text of YAML documents. */
  template(chart: string, values: object): Promise<string>;
}

export async function openHelm(): Promise<Helm> {
  const program = join(await install(helm), "helm");
  const call = async (values: object, start: (file: string, env: NodeJS.ProcessEnv) => Promise<string>): Promise<string> => {
    const folder = await temporaryFolder("helm");
    try {
      const file = join(folder.path, "values.json");
      await writeFile(file, JSON.stringify(values));
      return await start(file, { PATH: process.env["PATH"], HOME: folder.path });
    } finally {
      await folder.remove();
    }
  };
  return {
    lint: async (chart, values) => {
      // Its findings go to the standard output, and an error shows the other.
      const toError = ["-c", '"$@" >&2', "sh"];
      await call(values, (file, env) => run("sh", [...toError, program, "lint", "--strict", chart, "--values", file], { env }));
    },
    template: (chart, values) =>
      call(values, (file, env) => run(program, ["template", "mpo-relay", chart, "--namespace", "d8-system", "--values", file], { env })),
  };
}

const manifest = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.looseObject({
    name: z.string(),
    namespace: z.string().optional(),
    labels: z.record(z.string(), z.string()).optional(),
    annotations: z.record(z.string(), z.string()).optional(),
  }),
});
export type Manifest = z.infer<typeof manifest>;

/** The objects in manifests as they stand there: the client's own reader gives some fields other names. */
export const objectsIn = (text: string): Manifest[] =>
  parseAllDocuments(text)
    .map((document): unknown => document.toJS())
    .filter((each) => each !== null)
    .map((each) => manifest.parse(each));
