/** `dlq show`: everything about one dead letter: the record, what it met on its way, and the override as it is now. Changes nothing. */
import type { Override } from "../../cluster/overrides.ts";
import { decode, type RenewRequest } from "../../event.ts";
import { whatToDo } from "../../reasons.ts";
import { sameConfig } from "../configuration.ts";
import { Failure, messageOf, oneLine } from "../terminal.ts";
import { type Call, type DescribedLetter, incompleteText, visit } from "./letters.ts";
import { createLooker, portrait } from "./overrides.ts";

export async function show(call: Call): Promise<void> {
  const { options, selection, terminal } = call;
  const found: DescribedLetter[] = [];
  const unseen = await visit(call, async (letter) => {
    found.push(letter);
    return "keep";
  });
  const [letter] = found;
  if (!letter) {
    if (unseen.failed.length > 0) throw new Failure(1, `could not look at ${unseen.failed.join(", ")}`);
    throw new Failure(
      1,
      `no dead letter ${selection.ids.join()}`,
      incompleteText(unseen) ?? "`mpo-relay dlq list --each` shows what is there",
    );
  }
  const { place, body, ...rest } = letter;
  const read = decode(body);
  const request = read.kind === "request" ? read.request : null;
  const errors = errorsOf(letter, request);
  const { override, problem } = request ? await lookAt(request, call) : { override: null, problem: "the letter names no module" };
  if (options.json) {
    const said = { cluster: place, ...rest, advice: whatToDo(rest.code), errors, override, overrideProblem: problem, body };
    return terminal.out(JSON.stringify(said));
  }
  const state = request && problem === null ? portrait(request, override) : [problem ?? ""];
  const fields = Object.entries(rest).filter(([, value]) => value !== null);
  const lines = fields.map(([name, value]) => [name, String(value)]);
  lines.push(
    ["do", whatToDo(rest.code)],
    ...errors.map((text) => ["error", text]),
    ["body", body],
    ...state.map((text) => ["override", text]),
  );
  terminal.out(lines.map(([name = "", text = ""]) => `${name.padEnd(9)} ${oneLine(text)}`).join("\n"));
  terminal.out(`\nnext: mpo-relay dlq redrive ${letter.id} --wait${sameConfig(options.config)}`);
}

/** What the record met on its way, as far as it carries that with it, and at last its end. */
function errorsOf({ code, text, attempts, lastAt }: DescribedLetter, request: RenewRequest | null): string[] {
  const { look, retries = 0, refusedSince = null } = request ?? {};
  return [
    ...(look ? [`patched at ${look.patchedAt}; then the status said "${look.message ?? ""}" with digest ${look.digest ?? "none"}`] : []),
    ...(retries > 0 ? [`Deckhouse could not download the image: nudged again ${retries} times`] : []),
    ...(refusedSince === null ? [] : [`the API server refuses us since ${refusedSince}`]),
    `${code} at ${lastAt}, attempt ${attempts}: ${text}`,
  ];
}

/** A cluster that cannot be reached from here is no error of this command. */
async function lookAt(request: RenewRequest, { config }: Call): Promise<{ override: Override | null; problem: string | null }> {
  const looker = createLooker(config);
  try {
    return { override: await looker.get(request.cluster, request.module), problem: null };
  } catch (error) {
    return { override: null, problem: `cannot be looked at: ${messageOf(error)}` };
  } finally {
    looker.close();
  }
}
