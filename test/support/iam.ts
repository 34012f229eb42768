/** Reads a role of a template so strictly that nothing in it can be overlooked: a key that is not known here is an error. */
import * as z from "zod";

const one = <T extends z.ZodType>(schema: T) => z.union([schema.transform((each) => [each]), z.array(schema)]);
const action = z.string().regex(/^[a-z0-9-]+:[A-Za-z]+$/, "an action without a wildcard");
const HERE = "arn:${AWS::Partition}:";
/** What a statement is about: a resource of the template, or a text without this account's part. */
const about = z.union([
  z.strictObject({ "Fn::GetAtt": z.tuple([z.string(), z.literal("Arn")]) }).transform((each) => each["Fn::GetAtt"][0]),
  z
    .strictObject({ "Fn::Sub": z.string().startsWith(HERE) })
    .transform((each) => each["Fn::Sub"].replace(HERE, "").replace(":${AWS::Region}:${AWS::AccountId}:", " ")),
  z.string().startsWith("arn:"),
]);
const resource = about.refine((text) => !text.includes("*"), "a resource without a wildcard");

const allow = z.strictObject({
  Effect: z.literal("Allow"),
  Action: one(action),
  Resource: one(resource),
  Condition: z.unknown().optional(),
});
/** To forbid everything is no danger. */
const deny = z.strictObject({
  Effect: z.literal("Deny"),
  Action: one(action),
  Resource: z.literal("*"),
  Condition: z.unknown().optional(),
});
const document = z.strictObject({ Version: z.literal("2012-10-17"), Statement: z.array(z.union([allow, deny])) });
const managed = z.strictObject({ Description: z.string(), PolicyDocument: document });
const role = z.strictObject({
  AssumeRolePolicyDocument: z.strictObject({
    Version: z.literal("2012-10-17"),
    Statement: z.tuple([
      z.strictObject({
        Effect: z.literal("Allow"),
        Principal: z.strictObject({ Service: z.literal("lambda.amazonaws.com") }),
        Action: z.literal("sts:AssumeRole"),
      }),
    ]),
  }),
  Policies: z.array(z.strictObject({ PolicyName: z.string(), PolicyDocument: document })),
  ManagedPolicyArns: z.array(about).default([]),
});

/** `resource: action` for each right of a role of Lambda's, sorted; `denied: …` and `policy: …` beside them. Throws where it has more than that. */
export function rightsOf(properties: unknown): string[] {
  const { Policies, ManagedPolicyArns } = role.parse(properties);
  const rights = Policies.flatMap(({ PolicyDocument }) => rightsIn(PolicyDocument));
  return [...rights, ...ManagedPolicyArns.map((policy) => `policy: ${policy}`)].toSorted();
}

/** The same of a policy that stands alone, and is attached to nobody. */
export function rightsOfPolicy(properties: unknown): string[] {
  return rightsIn(managed.parse(properties).PolicyDocument).toSorted();
}

function rightsIn({ Statement }: z.output<typeof document>): string[] {
  return Statement.flatMap((each) => {
    const on = each.Effect === "Allow" ? each.Resource : ["denied"];
    const under = each.Condition === undefined ? "" : ` if ${JSON.stringify(each.Condition)}`;
    return on.flatMap((resource) => each.Action.map((what) => `${resource}: ${what}${under}`));
  });
}
