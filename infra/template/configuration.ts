/** The relay.yaml that is deployed: MPO_RELAY_CONFIG (a path, or inline JSON), else relay.yaml, else the example, which makes a template to look at but no relay. */
import { existsSync } from "node:fs";
import { loadConfig, type LoadResult } from "../../src/config.ts";
import { problemText } from "../../src/config/problem.ts";

const EXAMPLE = "infra/relay.example.yaml";

/** Tells on stderr what would surprise: the example, and the configuration's own warnings. */
export async function readConfiguration(): Promise<LoadResult> {
  const isExample = !process.env["MPO_RELAY_CONFIG"]?.trim() && !existsSync("relay.yaml");
  if (isExample) say(`no relay.yaml here and no MPO_RELAY_CONFIG: packaging ${EXAMPLE}, which serves nobody`);
  const loaded = await loadConfig(isExample ? { file: EXAMPLE } : {});
  for (const warning of loaded.warnings) say(`warning: ${problemText(warning)}`);
  return loaded;
}

const say = (line: string) => process.stderr.write(`${line}\n`);
