/** What the deployment's tests run of Python, in one folder: cfn-lint, and moto, which stand-in/server.py makes a stand-in for AWS of. */
import { readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import type { Part } from "../e2e/parts/cache.ts";
import { hashOf, install } from "../e2e/parts/cache.ts";
import { run } from "../e2e/parts/child.ts";

const REQUIREMENTS = join(import.meta.dirname, "stand-in/requirements.txt");
const listed = readFileSync(REQUIREMENTS, "utf8");
const version = /^moto==(.+)$/m.exec(listed)?.[1];

const packages: Part = {
  name: "aws-stand-in",
  version: `${version}-${hashOf(listed)}`,
  cost: "about a minute and 300 MB",
  build: async (folder) => {
    // exactly what is listed: nothing is resolved, and nothing is built
    const options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--no-compile", "--target", folder];
    await run("python3", ["-m", "pip", "install", ...options, "--requirement", REQUIREMENTS]);
    await rm(join(folder, "bin"), { recursive: true, force: true });
  },
};

/** The environment in which `python3` finds them. */
export async function pythonEnv(): Promise<NodeJS.ProcessEnv> {
  return { PATH: process.env["PATH"], PYTHONPATH: await install(packages), PYTHONDONTWRITEBYTECODE: "1" };
}

const findings = z.array(
  z.object({
    Level: z.string(),
    Rule: z.object({ Id: z.string() }),
    Message: z.string(),
    Location: z.object({ Path: z.array(z.union([z.string(), z.number()])).nullable() }),
  }),
);

/** `RULE path: message` for each finding of cfn-lint, warnings too. https://github.com/aws-cloudformation/cfn-lint/blob/main/docs/rules.md */
export async function lint(file: string, region: string): Promise<string[]> {
  const options = ["--format", "json", "--non-zero-exit-code", "none", "--regions", region, "--template", file];
  const printed = await run("python3", ["-c", "from cfnlint.runner import main; main()", ...options], { env: await pythonEnv() });
  return findings
    .parse(JSON.parse(printed))
    .map(({ Rule, Location, Message }) => `${Rule.Id} ${(Location.Path ?? []).join(".")}: ${Message}`);
}
