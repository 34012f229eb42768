/** The parts of IAM's policies that are used more than once. */
import type { Reference } from "./secrets.ts";
import type { Settings } from "./settings.ts";

export interface Statement {
  readonly Effect: "Allow" | "Deny";
  readonly Action: readonly string[];
  readonly Resource: unknown;
  readonly Condition?: unknown;
}
export const arnOf = (name: string) => ({ "Fn::GetAtt": [name, "Arn"] });
export const inThisAccount = (service: string, rest: string) => ({
  "Fn::Sub": `arn:\${AWS::Partition}:${service}:\${AWS::Region}:\${AWS::AccountId}:${rest}`,
});
export const allow = (Action: readonly string[], Resource: unknown): Statement => ({ Effect: "Allow", Action, Resource });

const SECRETS_MANAGER = "/aws/reference/secretsmanager/";

/** Exactly these parameters; of Secrets Manager the secret too, whose ARN ends in six characters that it chooses. */
export function reads(references: readonly Reference[], { kmsKeyArn }: Settings): Statement[] {
  const names = [...new Set(references.flatMap(({ ref }) => (ref.kind === "ssm" ? [ref.name] : [])))];
  if (names.length === 0) return [];
  const secrets = names.filter((name) => name.startsWith(SECRETS_MANAGER)).map((name) => name.slice(SECRETS_MANAGER.length));
  return [
    allow(
      ["ssm:GetParameter"],
      names.map((name) => inThisAccount("ssm", `parameter/${name.replace(/^\//, "")}`)),
    ),
    ...(secrets.length > 0
      ? [
          allow(
            ["secretsmanager:GetSecretValue"],
            secrets.map((name) => inThisAccount("secretsmanager", `secret:${name}-??????`)),
          ),
        ]
      : []),
    ...(kmsKeyArn ? [decrypts(kmsKeyArn)] : []),
  ];
}

/** Only through the two stores: https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-via-service */
function decrypts(kmsKeyArn: string): Statement {
  const via = ["ssm", "secretsmanager"].map((service) => ({ "Fn::Sub": `${service}.\${AWS::Region}.\${AWS::URLSuffix}` }));
  return { ...allow(["kms:Decrypt"], kmsKeyArn), Condition: { StringEquals: { "kms:ViaService": via } } };
}
