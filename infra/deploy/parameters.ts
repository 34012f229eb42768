/** Whether what relay.yaml names by `ssm:` is there. No value is read where it can be helped. */
import {
  DescribeParametersCommand,
  GetParameterCommand,
  ParameterNotFound,
  type SSMClient,
  SSMServiceException,
} from "@aws-sdk/client-ssm";
import type { Problem, RelayConfig } from "../../src/config.ts";
import { clusterSecrets, edgeSecrets } from "../template/secrets.ts";
import { nameOf } from "./aws.ts";

/** https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_ParameterStringFilter.html */
const AT_ONCE = 50;
/** Secrets Manager's, which only reading finds: https://docs.aws.amazon.com/systems-manager/latest/userguide/integration-ps-secretsmanager.html */
const ELSEWHERE = "/aws/reference/secretsmanager/";

export interface Looked {
  readonly problems: readonly Problem[];
  /** That somebody may deploy and not look there is no reason to refuse. */
  readonly warnings: readonly string[];
}

export async function lookForParameters(client: SSMClient, config: RelayConfig): Promise<Looked> {
  const consumed = Object.keys(config.clusters).filter((name) => config.clusters[name]?.kubernetes);
  const places = new Map<string, Set<string>>();
  for (const { path, ref } of [...edgeSecrets(config), ...consumed.flatMap((name) => clusterSecrets(config, name))])
    if (ref.kind === "ssm") places.set(ref.name, (places.get(ref.name) ?? new Set()).add(path));
  try {
    const names = [...places.keys()];
    const missing = [
      ...(await undescribed(
        client,
        names.filter((name) => !name.startsWith(ELSEWHERE)),
      )),
      ...(await unreadable(
        client,
        names.filter((name) => name.startsWith(ELSEWHERE)),
      )),
    ];
    const problems = missing.flatMap((name) => [...(places.get(name) ?? [])].map((path) => missingAt(path, name)));
    return { problems, warnings: [] };
  } catch (error) {
    if (!(error instanceof SSMServiceException && error.name.startsWith("AccessDenied"))) throw error;
    return { problems: [], warnings: [`not looked whether the secrets are there: ${nameOf(error)}, ssm:DescribeParameters is missing`] };
  }
}

const missingAt = (path: string, name: string): Problem => ({
  path,
  message: `there is no parameter ${name} in this region`,
  hint: `aws ssm put-parameter --type SecureString --name ${name} --value file://FILE`,
});

async function undescribed(client: SSMClient, names: readonly string[]): Promise<string[]> {
  const found = new Set<string>();
  for (let at = 0; at < names.length; at += AT_ONCE) {
    const ParameterFilters = [{ Key: "Name", Option: "Equals", Values: names.slice(at, at + AT_ONCE) }];
    let next: { NextToken?: string } = {};
    do {
      const { Parameters = [], NextToken } = await client.send(new DescribeParametersCommand({ ParameterFilters, ...next }));
      for (const { Name } of Parameters) if (Name !== undefined) found.add(Name);
      next = NextToken === undefined ? {} : { NextToken };
    } while (next.NextToken !== undefined);
  }
  return names.filter((name) => !found.has(name));
}

async function unreadable(client: SSMClient, names: readonly string[]): Promise<string[]> {
  const looked = names.map(async (Name) => {
    try {
      await client.send(new GetParameterCommand({ Name, WithDecryption: true }));
      return [];
    } catch (error) {
      if (error instanceof ParameterNotFound) return [Name];
      throw error;
    }
  });
  return (await Promise.all(looked)).flat();
}
