/** The services that the commands ask, each with the region of the deployment and the SDK's usual chain of credentials. */
import { CloudFormationClient } from "@aws-sdk/client-cloudformation";
import { LambdaClient } from "@aws-sdk/client-lambda";
import { SQSClient } from "@aws-sdk/client-sqs";
import { SSMClient } from "@aws-sdk/client-ssm";
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";
import type { Problem } from "../../src/config.ts";

export interface Aws {
  readonly stacks: CloudFormationClient;
  readonly functions: LambdaClient;
  readonly queues: SQSClient;
  readonly parameters: SSMClient;
  /** null: credentials are there and count. */
  whyNobody(): Promise<Problem | null>;
}
export type Connect = (region: string) => Aws;

export const connect: Connect = (region) => {
  const identity = new STSClient({ region });
  return {
    stacks: new CloudFormationClient({ region }),
    functions: new LambdaClient({ region }),
    queues: new SQSClient({ region, useQueueUrlAsEndpoint: false }), // else it would take the URL's host in spite of AWS_ENDPOINT_URL
    parameters: new SSMClient({ region }),
    whyNobody: async () => {
      try {
        await identity.send(new GetCallerIdentityCommand());
        return null;
      } catch (error) {
        const hint = "sign in, set AWS_PROFILE, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; then: aws sts get-caller-identity";
        return { path: "credentials", message: `AWS takes none (${nameOf(error)})`, hint };
      }
    },
  };
};

/** An error of the SDK by its name and code alone: its text may hold what was sent. */
export function nameOf(error: unknown): string {
  if (!(error instanceof Error)) return "error";
  return "code" in error && typeof error.code === "string" ? `${error.name} ${error.code}` : error.name;
}
