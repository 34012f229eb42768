/** From the file's text to plain data. Messages name a line, never what stands in it: that could be a secret. */
import { Refusal } from "./problem.ts";

/** YAML for `.yaml` and `.yml`, else JSON. The YAML parser is loaded only when it is needed: the Lambda functions get JSON. */
export async function parseText(text: string, file: string): Promise<unknown> {
  return /\.ya?ml$/i.test(file) ? await parseYaml(text) : parseJson(text);
}

async function parseYaml(text: string): Promise<unknown> {
  const { parseDocument } = await import("yaml");
  const document = parseDocument(text, { prettyErrors: false });
  const [wrong] = [...document.errors, ...document.warnings];
  if (wrong) return new Refusal(`not valid YAML, line ${lineAt(text, wrong.pos[0])}: ${WHAT[wrong.code] ?? wrong.code}`);
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch {
    return new Refusal("not valid YAML: its aliases do not resolve");
  }
}
const WHAT: Readonly<Record<string, string>> = {
  DUPLICATE_KEY: "this key stands there twice",
  MULTIPLE_DOCS: "a second document begins; the configuration is one",
  BAD_INDENT: "the indentation does not fit",
  TAB_AS_INDENT: "a tab cannot indent in YAML",
  TAG_RESOLVE_FAILED: "tags (!name) have no meaning here",
};

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const position = /position (\d+)/.exec(String(error))?.[1];
    return new Refusal(
      `not valid JSON${position === undefined ? "" : `, line ${lineAt(text, Number(position))}`}`,
      "YAML needs a name that ends in .yaml",
    );
  }
}

const lineAt = (text: string, offset: number) => text.slice(0, offset).split("\n").length;
