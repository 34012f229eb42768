/** What is deployed: CloudFormation's own account of it. */
import {
  CloudFormationClient,
  CloudFormationServiceException,
  DescribeStacksCommand,
  GetTemplateCommand,
  paginateListStackResources,
} from "@aws-sdk/client-cloudformation";
import * as z from "zod";

/** What is read of a template; the rest is kept as it is. */
export const templateSchema = z.looseObject({
  Resources: z.record(z.string(), z.looseObject({ Type: z.string(), Properties: z.record(z.string(), z.unknown()).default({}) })),
});
export type Template = z.output<typeof templateSchema>;

export interface DeployedStack {
  /** https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html */
  readonly status: string;
  readonly template: Template;
  /** Of a logical id: what AWS calls the thing. */
  readonly ids: ReadonlyMap<string, string>;
}

/** null: there is no such stack. */
export async function readStack(client: CloudFormationClient, StackName: string): Promise<DeployedStack | null> {
  const described = await client.send(new DescribeStacksCommand({ StackName })).catch((error: unknown) => {
    const isAbsent = error instanceof CloudFormationServiceException && /does not exist/.test(error.message);
    if (!isAbsent) throw error;
    return null;
  });
  const stack = described?.Stacks?.[0];
  if (!stack?.StackStatus || stack.StackStatus === "DELETE_COMPLETE") return null;
  const { TemplateBody = "{}" } = await client.send(new GetTemplateCommand({ StackName, TemplateStage: "Original" }));
  const ids = new Map<string, string>();
  for await (const { StackResourceSummaries = [] } of paginateListStackResources({ client }, { StackName })) {
    for (const { LogicalResourceId, PhysicalResourceId } of StackResourceSummaries)
      if (LogicalResourceId !== undefined && PhysicalResourceId !== undefined) ids.set(LogicalResourceId, PhysicalResourceId);
  }
  return { status: stack.StackStatus, template: templateSchema.parse(JSON.parse(TemplateBody)), ids };
}

/** Why a stack in this state takes no deploy; null: it does. */
export function whyBlocked({ status }: Pick<DeployedStack, "status">, { stack, stage }: { stack: string; stage: string }) {
  const problem = (message: string, hint: string) => ({ path: `stack ${stack}`, message: `${message} (${status})`, hint });
  if (status === "UPDATE_ROLLBACK_FAILED")
    return problem(
      "a deploy failed, and so did going back",
      `mend what its events tell, then: aws cloudformation continue-update-rollback --stack-name ${stack}`,
    );
  if (status.endsWith("_IN_PROGRESS"))
    return problem("another deploy or removal is under way", "wait for its end; the version before goes on working meanwhile");
  if (/^(?:CREATE_FAILED|ROLLBACK_\w+|DELETE_FAILED)$/.test(status))
    return problem("its first deploy, or its removal, failed", `npm run remove -- --stage ${stage}, then deploy again`);
  return null;
}
