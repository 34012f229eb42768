/** What AWS refuses only in the middle of a deploy: a stack that is too large. */
import * as z from "zod";
import type { Problem } from "../../src/config.ts";
import { JOURNAL, type Resources } from "./names.ts";
import type { Settings } from "./settings.ts";

/** https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html */
const MOST_RESOURCES = 500;
/** Of a function's variables as JSON, which is what Lambda measures: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html */
const MOST_VARIABLES_BYTES = 4096;
/** The longest that there are: a region's name and domain, an account, and what CloudFormation makes of a name. */
const URL_BEFORE_NAME = "https://sqs.ap-northeast-1.amazonaws.com.cn/123456789012/";
const NAME_AFTER_ID = "-1A2B3C4D5E6F7";
const LONGEST_QUEUE_NAME = 80;

const reference = z.union([z.object({ Ref: z.string() }), z.object({ "Fn::GetAtt": z.tuple([z.string(), z.literal("QueueName")]) })]);
/** Of osls's functions, what counts here. */
const functionSchema = z.object({
  environment: z.record(z.string(), z.union([z.string(), reference])),
  events: z.array(z.record(z.string(), z.unknown())).default([]),
  url: z.boolean().default(false),
});
type Functions = Readonly<Record<string, unknown>>;

export function overQuotas(functions: Functions, resources: Resources, settings: Settings): Problem[] {
  const many = resourcesOf(functions, resources);
  const sizes = Object.entries(functions).map(([key, each]) => ({ key, bytes: variablesBytes(each, settings) }));
  return [
    ...(many > MOST_RESOURCES
      ? [problem(`they make ${many} resources of the stack, and CloudFormation takes ${MOST_RESOURCES}`, ELSEWHERE)]
      : []),
    ...sizes
      .filter(({ bytes }) => bytes > MOST_VARIABLES_BYTES)
      .map(({ key, bytes }) =>
        problem(
          `their queues' names make ${bytes} bytes of variables of the function ${key}, and Lambda takes ${MOST_VARIABLES_BYTES}`,
          `name the variables shorter; or ${ELSEWHERE}`,
        ),
      ),
  ];
}

const problem = (message: string, hint: string): Problem => ({ path: "clusters", message, hint });
const ELSEWHERE =
  "give some to a second stack: a relay.yaml of its own (MPO_RELAY_CONFIG) and another --stage; registries then send to both edges";

/** osls adds its bucket with a policy; for each function itself and its log group, and what calls it. */
export function resourcesOf(functions: Functions, resources: Resources): number {
  const added = Object.values(functions).map((each) => {
    const { events, url } = functionSchema.parse(each);
    return (
      2 + (url ? 3 : 0) + events.reduce((sum, event) => sum + Object.keys(event).reduce((more, kind) => more + (CALLERS[kind] ?? 0), 0), 0)
    );
  });
  return Object.keys(resources).length + 2 + added.reduce((sum, many) => sum + many, 0);
}
/** The mapping; rule and permission; API, stage, route, integration and permission. */
const CALLERS: Readonly<Record<string, number>> = { sqs: 1, schedule: 2, httpApi: 5 };

function variablesBytes(each: unknown, settings: Settings): number {
  const { environment } = functionSchema.parse(each);
  const values = Object.entries(environment).map(([name, value]) => [name, typeof value === "string" ? value : longestOf(value, settings)]);
  return Buffer.byteLength(JSON.stringify(Object.fromEntries(values)));
}

/** A queue's reference is its URL, the table's its name. */
function longestOf(value: z.output<typeof reference>, { service, stage }: Settings): string {
  const [id, isName] = "Ref" in value ? [value.Ref, value.Ref === JOURNAL] : [value["Fn::GetAtt"][0], true];
  const name = `${service}-${stage}-${id}${NAME_AFTER_ID}`.slice(0, LONGEST_QUEUE_NAME);
  return isName ? name : `${URL_BEFORE_NAME}${name}`;
}
